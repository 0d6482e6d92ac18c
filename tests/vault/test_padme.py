"""Padme sizes hold what they are for, waste little, and are few."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight_vault.format.padme import padme

SIZES = st.integers(0, 2**40)


@given(SIZES)
def test_a_padded_size_holds_the_content_at_most_twelve_percent_larger(size: int) -> None:
    assert size <= padme(size) <= size * 1.12 or size == padme(size)


@given(st.integers(1 << 20, 1 << 32))
def test_packs_grow_by_less_than_three_and_a_quarter_percent(size: int) -> None:
    assert padme(size) < size * 1.0325


@given(SIZES)
def test_a_padded_size_needs_no_more_padding(size: int) -> None:
    assert padme(padme(size)) == padme(size)


@given(SIZES, SIZES)
def test_a_longer_content_is_never_padded_to_less(one: int, other: int) -> None:
    small, large = sorted((one, other))
    assert padme(small) <= padme(large)


def test_few_sizes_are_left_to_tell_contents_apart() -> None:
    assert len({padme(size) for size in range((1 << 15) + 1, (1 << 16) + 1)}) == 16


@pytest.mark.parametrize(
    ("size", "padded"), [(0, 0), (1, 1), (2, 2), (9, 10), (100, 104), (1000, 1024), (65537, 67584)]
)
def test_sizes_of_the_paper_s_formula(size: int, padded: int) -> None:
    assert padme(size) == padded
