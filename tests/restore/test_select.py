"""Path patterns: what they select, on raw bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight_restore.select import Selection, escape, matches
from safelight_vault.errors import ConfigurationError

COMPONENTS = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
PATHS = st.lists(COMPONENTS, min_size=1, max_size=5).map(b"/".join)


@pytest.mark.parametrize(
    ("pattern", "path", "selected"),
    [
        (b"2024", b"2024", True),
        (b"2024", b"2024/01/a.dcm", True),
        (b"2024", b"2024x", False),
        (b"2024", b"old/2024", False),
        (b"2024/", b"2024/01", True),
        (b"/2024", b"2024/01", True),
        (b"archive", b"anything/at/all", True),
        (b"archive", b"", True),
        (b"archive/2024", b"2024/a", True),
        (b"arch*/20?4", b"2024/a", True),
        (b"*.dcm", b"a.dcm", True),
        (b"*.dcm", b".dcm", True),
        (b"*.dcm", b"2024/a.dcm", False),
        (b"**/*.dcm", b"2024/01/a.dcm", True),
        (b"**/*.dcm", b"a.dcm", True),
        (b"2024/**/a", b"2024/a", True),
        (b"2024/**/a", b"2024/1/2/3/a/below", True),
        (b"2024/**/a", b"2023/1/a", False),
        (b"2024/**", b"2024/x", True),
        (b"2024/**", b"2023/x", False),
        (b"**", b"x/y", True),
        (b"**/**", b"x", True),
        (b"a**b", b"aXXb", True),
        (b"a**b", b"aX/Xb", False),
        (b"?", b"\xff", True),
        (b"?", b"\xc3\xa4", False),
        (b"??", b"\xc3\xa4", True),
        (b"[a-c]x", b"bx", True),
        (b"[!a-c]x", b"bx", False),
        (b"[!a-c]x", b"\nx", True),
        (b"[]x]", b"]", True),
        (b"[!a]", b"/", False),
        (b"a[-]b", b"a-b", True),
        (b"\\*", b"*", True),
        (b"\\*", b"x", False),
        (b"line\nbreak", b"line\nbreak/x", True),
        (b"*", b"line\nbreak", True),
    ],
)
def test_a_pattern_selects_what_the_rules_say(pattern: bytes, path: bytes, selected: bool) -> None:
    assert matches([pattern], b"archive", path) is selected


def test_no_pattern_selects_everything() -> None:
    assert matches([], b"archive", b"")
    assert matches([], b"archive", b"2024/a.dcm")


@pytest.mark.parametrize("pattern", [b"", b"/", b"a[b", b"a\\", b"[!\x01-\xff\x00]"])
def test_a_pattern_that_can_match_nothing_is_refused(pattern: bytes) -> None:
    with pytest.raises(ConfigurationError):
        Selection([pattern])


@given(PATHS, PATHS)
def test_an_escaped_path_selects_itself_and_what_is_below_only(path: bytes, other: bytes) -> None:
    selection = Selection([escape(path)])
    assert selection.matches(b"\0source", path)
    assert selection.matches(b"\0source", path + b"/" + other)
    expected = (other + b"/").startswith(path + b"/")
    assert selection.matches(b"\0source", other) is expected


@given(st.lists(PATHS, min_size=1, max_size=20))
def test_many_literal_paths_are_one_selection(paths: list[bytes]) -> None:
    selection = Selection([escape(path) for path in paths])
    assert all(selection.matches(b"source", path) for path in paths)


def test_the_name_of_a_selection_does_not_depend_on_the_order_of_its_patterns() -> None:
    assert Selection([b"a", b"b"]).name == Selection([b"b", b"a", b"a"]).name
    assert Selection([b"a", b"b"]).name != Selection([b"a"]).name
