"""Pages give back their entries, and a table is cut into pages by its own keys and sizes."""

from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from page_samples import place_of, table
from safelight_vault.errors import DecodeError
from safelight_vault.format.pages import (
    KEY_SIZE_MAX,
    LEVELS_MAX,
    PAGE_ENTRIES_MAX,
    PAGE_SIZE_MAX,
    ROOT_ENTRIES_MAX,
    VALUE_SIZE_MAX,
    Pair,
    TreeRoot,
    decode_page,
    decode_place,
    encode_page,
    encode_place,
    page_groups,
    read_root,
    write_root,
)
from safelight_vault.format.wire import Reader, Writer
from strictness import outcome, require_canonical, require_exact_length, require_only_vault_errors

PAIRS = st.dictionaries(st.binary(max_size=20), st.binary(max_size=40), max_size=20).map(
    lambda entries: sorted(entries.items())
)


# --- One page --------------------------------------------------------------------------------


@given(PAIRS)
def test_a_page_is_read_back(entries: list[Pair]) -> None:
    assert decode_page(encode_page(entries)) == entries


def test_a_page_has_exactly_one_length() -> None:
    data = encode_page(table(20))
    require_exact_length(decode_page, data)
    require_only_vault_errors(decode_page, data)


@given(st.binary(max_size=100))
def test_foreign_pages_are_refused_or_canonical(data: bytes) -> None:
    outcome(decode_page, data)
    require_canonical(decode_page, encode_page, data)


@pytest.mark.parametrize("keys", [(b"b", b"a"), (b"a", b"a"), (b"ab", b"a"), (b"", b"")])
def test_keys_that_do_not_rise_are_refused(keys: tuple[bytes, bytes]) -> None:
    with pytest.raises(DecodeError, match="keys out of order"):
        decode_page(encode_page([(key, b"value") for key in keys]))


def test_lengths_above_the_limits_are_refused_before_the_bytes_are_wanted() -> None:
    one = (1).to_bytes(4, "big")
    for data in (
        (PAGE_ENTRIES_MAX + 1).to_bytes(4, "big"),
        one + (KEY_SIZE_MAX + 1).to_bytes(4, "big"),
        one + bytes(4) + (VALUE_SIZE_MAX + 1).to_bytes(4, "big"),
    ):
        with pytest.raises(DecodeError, match="exceeds the limit"):
            decode_page(data)


# --- How a table is cut ----------------------------------------------------------------------


def test_pages_hold_the_table_in_order_within_their_limits() -> None:
    entries = table(10_000)
    pages = list(page_groups(entries, 0))
    assert [pair for page in pages for pair in page] == entries
    assert len(pages) > 10
    for page in pages:
        assert len(encode_page(page)) <= PAGE_SIZE_MAX + 4


def test_a_page_passes_the_limit_only_for_a_single_entry() -> None:
    entries = [(b"%d" % number, bytes(VALUE_SIZE_MAX)) for number in range(3)]
    assert [len(page) for page in page_groups(entries, 0)] == [1, 1, 1]
    entries = [(b"%04d" % number, bytes(100_000)) for number in range(50)]
    assert max(len(encode_page(page)) for page in page_groups(entries, 0)) <= PAGE_SIZE_MAX + 4


@given(st.integers(0, 9_999), st.booleans())
def test_one_inserted_or_deleted_entry_changes_at_most_two_pages(at: int, insert: bool) -> None:
    entries, before = whole_table_of_10_000()
    changed = list(entries)
    if insert:
        changed.insert(at + 1, (entries[at][0] + b"\x01", b"a new file"))
    else:
        del changed[at]
    after = {encode_page(page) for page in page_groups(changed, 0)}
    assert len(after - before) <= 2
    assert len(before - after) <= 2


@cache
def whole_table_of_10_000() -> tuple[list[Pair], set[bytes]]:
    entries = table(10_000)
    return entries, {encode_page(page) for page in page_groups(entries, 0)}


def test_where_a_page_ends_depends_on_keys_and_sizes_alone() -> None:
    entries = table(5_000)
    one = [[key for key, _ in page] for page in page_groups(entries, 0)]
    same_sizes = [(key, bytes(len(value))) for key, value in entries]
    assert [[key for key, _ in page] for page in page_groups(same_sizes, 0)] == one


def test_a_table_is_read_as_a_stream() -> None:
    """A table of any size passes through without being held: pages come out as entries go in."""
    taken = 0

    def entries() -> Iterator[Pair]:
        nonlocal taken
        for pair in table(10_000):
            taken += 1
            yield pair

    first = next(page_groups(entries(), 0))
    assert taken == len(first) + 1


def encode_root(root: TreeRoot) -> bytes:
    writer = Writer()
    write_root(writer, root)
    return writer.finish()


def decode_root(data: bytes) -> TreeRoot:
    reader = Reader(data, "root")
    root = read_root(reader)
    reader.end()
    return root


# --- Roots and places ------------------------------------------------------------------------

ROOTS = st.builds(
    TreeRoot,
    st.integers(0, LEVELS_MAX),
    st.integers(0, 2**64 - 1),
    st.lists(
        st.tuples(st.binary(max_size=30), st.binary(min_size=32, max_size=32).map(place_of)),
        max_size=4,
    ).map(tuple),
)


@given(ROOTS)
def test_a_root_is_read_back(root: TreeRoot) -> None:
    assert decode_root(encode_root(root)) == root


def test_a_root_has_exactly_one_length() -> None:
    data = encode_root(TreeRoot(1, 4, ((b"a", place_of(bytes(32))), (b"c", place_of(bytes(32))))))
    require_exact_length(decode_root, data)
    require_only_vault_errors(decode_root, data)


@given(st.binary(max_size=120))
def test_foreign_roots_and_places_are_refused_or_canonical(data: bytes) -> None:
    outcome(decode_root, data)
    outcome(decode_place, data)
    require_canonical(decode_root, encode_root, data)
    require_canonical(decode_place, encode_place, data)


def test_a_place_alone_has_exactly_one_length() -> None:
    require_exact_length(decode_place, encode_place(place_of(bytes(32))))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (bytes([LEVELS_MAX + 1]) + bytes(12), "levels"),
        (bytes(9) + (ROOT_ENTRIES_MAX + 1).to_bytes(4, "big"), "exceeds the limit"),
        (bytes(12) + b"\x01" + (KEY_SIZE_MAX + 1).to_bytes(4, "big"), "exceeds the limit"),
    ],
)
def test_a_root_beyond_the_limits_is_refused(data: bytes, match: str) -> None:
    with pytest.raises(DecodeError, match=match):
        decode_root(data)
