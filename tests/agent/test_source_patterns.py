"""Include and exclude patterns: which paths a source takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight_agent.source.patterns import Selection, parse_pattern
from safelight_vault.errors import ConfigurationError


def takes(path: bytes, *, include: str = "**", exclude: str | None = None) -> bool:
    selection = Selection.of([include], [exclude] if exclude is not None else [])
    return selection.takes(path.rstrip(b"/"), directory=path.endswith(b"/"))


@pytest.mark.parametrize(
    ("pattern", "path", "matched"),
    [
        ("*.tmp", b"a.tmp", True),
        ("*.tmp", b"x/y/a.tmp", True),
        ("*.tmp", b"a.tmp.dcm", False),
        ("*.tmp", b"A.TMP", False),
        ("*", b".hidden", True),
        ("/a", b"a", True),
        ("/a", b"x/a", False),
        ("a/b", b"a/b", True),
        ("a/b", b"x/a/b", True),
        ("a/b", b"a/x/b", False),
        ("/a/*/c", b"a/b/c", True),
        ("/a/*/c", b"a/c", False),
        ("/a/*/c", b"a/b/b/c", False),
        ("/a/**/c", b"a/c", True),
        ("/a/**/c", b"a/b/b/c", True),
        ("/a/**/**/c", b"a/c", True),
        ("/a/**", b"a/", False),
        ("/a/**", b"a/b", True),
        ("/a/**", b"a/b/c", True),
        ("/a/*", b"a/b/c", True),  # because a/b is matched and c lies below it
        ("cache/", b"cache/", True),
        ("cache/", b"cache", False),
        ("cache/", b"x/cache/y", True),
        ("?.dcm", b"1.dcm", True),
        ("?.dcm", "ü.dcm".encode(), True),
        ("?.dcm", b"\xff.dcm", True),
        ("?.dcm", b"12.dcm", False),
        ("[ab].dcm", b"a.dcm", True),
        ("[!ab].dcm", b"a.dcm", False),
        ("[a-c]", b"b", True),
        ("[*]", b"*", True),
        ("[*]", b"x", False),
        ("a\\*", b"a\\b", True),
        ("*.dcm", b"two\nlines.dcm", True),
    ],
)
def test_a_pattern_matches_as_the_language_says(pattern: str, path: bytes, matched: bool) -> None:
    assert takes(path, exclude=pattern) is not matched
    if not path.endswith(b"/"):  # a directory is also taken for what could lie below it
        assert takes(path, include=pattern) is matched


@pytest.mark.parametrize(
    ("pattern", "directory", "entered"),
    [
        ("/2024/**", b"2024/", True),
        ("/2024/**", b"2025/", False),
        ("/a/b/c", b"a/b/", True),
        ("/a/b/c", b"a/x/", False),
        ("*.dcm", b"any/where/", True),
        ("**", b"any/", True),
    ],
)
def test_a_directory_is_taken_when_something_below_it_could_be(
    pattern: str, directory: bytes, entered: bool
) -> None:
    assert takes(directory, include=pattern) is entered


def test_exclude_wins_over_include() -> None:
    assert not takes(b"a/b.tmp", include="/a", exclude="*.tmp")


def test_the_root_is_always_taken() -> None:
    assert Selection.of(["/a"], ["**"]).takes(b"", directory=True)


@pytest.mark.parametrize(
    "pattern", ["", "/", "//", "a//b", "a/../b", "./a", "a**", "a/**b", "nul\0"]
)
def test_a_pattern_without_meaning_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_pattern(pattern)


def test_an_empty_include_list_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="empty include"):
        Selection.of([], [])


names = st.binary(min_size=1, max_size=8).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in {b".", b".."}
)
paths = st.lists(names, min_size=1, max_size=6).map(b"/".join)


@given(paths)
def test_every_path_is_taken_by_the_default(path: bytes) -> None:
    assert takes(path)
    assert not takes(path, exclude="**")


@given(paths, st.sampled_from(["**", "/**", "*", "/*"]))
def test_all_ways_to_say_everything_agree(path: bytes, pattern: str) -> None:
    assert takes(path, include=pattern)


@given(paths, st.lists(names, min_size=1, max_size=3).map(b"/".join))
def test_what_is_below_an_excluded_directory_is_excluded(above: bytes, below: bytes) -> None:
    exclude = "/" + "/".join(
        "?" * len(name.decode("utf-8", "surrogateescape")) for name in above.split(b"/")
    )
    assert not takes(above, exclude=exclude)
    assert not takes(above + b"/" + below, exclude=exclude)
