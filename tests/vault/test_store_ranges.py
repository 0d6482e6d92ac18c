"""Ranges: the bytes asked for, or an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight_vault.errors import CorruptError, ObjectMissingError
from safelight_vault.store.ranges import WHOLE_SIZE_MAX, resolve_range

SIZES = st.integers(0, 50)


@given(SIZES, SIZES, st.none() | SIZES)
def test_a_range_is_inside_the_object_or_missing(
    size: int, offset: int, length: int | None
) -> None:
    fits = offset <= size and (length is None or offset + length <= size)
    if fits:
        wanted = resolve_range("a", size_bytes=size, offset=offset, length=length)
        assert wanted == (size - offset if length is None else length)
    else:
        with pytest.raises(ObjectMissingError, match="past the end"):
            resolve_range("a", size_bytes=size, offset=offset, length=length)


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1), (-1, 5)])
def test_negative_numbers_are_programming_errors(offset: int, length: int | None) -> None:
    with pytest.raises(ValueError, match="range"):
        resolve_range("a", size_bytes=10, offset=offset, length=length)


def test_an_object_beyond_all_measure_is_not_read_whole() -> None:
    size = WHOLE_SIZE_MAX + 1
    with pytest.raises(CorruptError):
        resolve_range("a", size_bytes=size, offset=0, length=None)
    assert resolve_range("a", size_bytes=size, offset=size - 5, length=5) == 5
    assert resolve_range("a", size_bytes=size - 1, offset=0, length=None) == size - 1
