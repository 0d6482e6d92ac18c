"""Names: what is accepted, and that every store keeps it inside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from name_strategies import NAMES
from safelight_vault.errors import DecodeError
from safelight_vault.store import NAME_LENGTH_MAX
from safelight_vault.store.names import (
    SEGMENT_LENGTH_MAX,
    is_valid_name,
    validate_name,
    validate_prefix,
)


@given(NAMES)
def test_a_name_of_proper_segments_is_accepted_unchanged(name: str) -> None:
    assert validate_name(name) == name


@given(st.text(max_size=40))
def test_whatever_is_accepted_stays_inside_and_is_plain(text: str) -> None:
    if is_valid_name(text):
        assert text.isascii()
        assert text == text.lower()
        assert not text.startswith("/")
        assert {"", ".", ".."}.isdisjoint(text.split("/"))
    else:
        with pytest.raises(DecodeError):
            validate_name(text)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/a",
        "a/",
        "a//b",
        "a/../b",
        "./a",
        "A",
        "a b",
        "a\n",
        "a\0",
        "é",
        "a@",
        "a:b",
    ],
)
def test_what_could_lead_astray_is_refused(name: str) -> None:
    with pytest.raises(DecodeError):
        validate_name(name)


def test_lengths_are_accepted_up_to_the_limit_and_not_beyond() -> None:
    segment = "s" * SEGMENT_LENGTH_MAX
    assert is_valid_name(segment)
    assert not is_valid_name(segment + "s")
    longest = ("/".join([segment] * 4))[:NAME_LENGTH_MAX]
    assert len(longest) == NAME_LENGTH_MAX
    assert is_valid_name(longest)
    assert not is_valid_name("a/" + longest)


@given(NAMES, st.integers(0, 130))
def test_every_beginning_of_a_name_is_a_prefix(name: str, length: int) -> None:
    assert validate_prefix(name[:length]) == name[:length]


@pytest.mark.parametrize("prefix", ["/", "a//", "../", "a/../b", "./", "A", "a b", "a" * 513])
def test_a_prefix_that_could_lead_astray_is_refused(prefix: str) -> None:
    with pytest.raises(DecodeError):
        validate_prefix(prefix)
