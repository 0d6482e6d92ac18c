"""Page trees give back their tables, and hold together only in their right order."""

import hashlib
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from page_samples import PageStore, build, place_of, table
from safelight_vault.errors import CorruptError, DecodeError, ObjectMissingError
from safelight_vault.format.pages import (
    LEVELS_MAX,
    PAGE_SIZE_MIN,
    PAGE_SIZE_TARGET,
    ROOT_ENTRIES_MAX,
    Pair,
    TreeRoot,
    decode_page,
    decode_place,
    encode_page,
    encode_place,
    inner_level,
    read_tree,
)
from safelight_vault.format.place import Place

DEEP_VALUE_SIZE = PAGE_SIZE_MIN
DEEP_ENTRY_SIZE = 8 + 8 + DEEP_VALUE_SIZE


@cache
def boundary_keys(count: int) -> tuple[bytes, ...]:
    """Keys before which a page ends where entries are as long as those of ``deep_table``."""
    found: list[bytes] = []
    number = 0
    while len(found) < count:
        key = b"%08d" % number
        place = int.from_bytes(hashlib.sha256(key).digest()[:2], "big")
        if place * PAGE_SIZE_TARGET < DEEP_ENTRY_SIZE << 16:
            found.append(key)
        number += 1
    return tuple(found)


def deep_table() -> list[Pair]:
    """A table of more pages than a root lists, at little cost: each entry fills its page."""
    keys = boundary_keys(ROOT_ENTRIES_MAX + 100)
    return [(key, key * (DEEP_VALUE_SIZE // len(key))) for key in keys]


PAIRS = st.dictionaries(st.binary(max_size=20), st.binary(max_size=40), max_size=20).map(
    lambda entries: sorted(entries.items())
)


# --- Trees -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 10_000, 60_000])
def test_a_tree_gives_back_its_table(count: int) -> None:
    entries, store = table(count), PageStore()
    root = build(entries, store.store)
    assert (root.levels, root.entry_count) == (0, count)
    assert list(read_tree(root, store.load)) == entries
    assert sorted(store.loaded) == sorted(store.pages)


def test_a_tree_of_several_levels_gives_back_its_table() -> None:
    entries, store = deep_table(), PageStore()
    root = build(entries, store.store)
    assert root.levels == 1
    assert 0 < len(root.pages) < len(entries) <= len(store.pages)
    assert list(read_tree(root, store.load)) == entries
    assert len(store.loaded) == len(store.pages)


@given(PAIRS, st.binary(max_size=20), st.binary(max_size=20) | st.none())
def test_a_range_of_any_table_is_what_lies_between_two_keys(
    entries: list[Pair], start: bytes, stop: bytes | None
) -> None:
    store = PageStore()
    root = build(entries, store.store)
    expected = [pair for pair in entries if pair[0] >= start and (stop is None or pair[0] < stop)]
    assert list(read_tree(root, store.load, start=start, stop=stop)) == expected


def test_building_twice_gives_the_same_pages() -> None:
    for entries in (table(3_000), deep_table()):
        one, other = PageStore(), PageStore()
        assert build(entries, one.store) == build(entries, other.store)
        assert one.pages == other.pages


def test_a_page_more_or_less_changes_at_most_two_pages_of_the_level_above() -> None:
    """First keys of pages are boundaries of their own level, so the next one needs other bits."""
    links = [(key, place_of(hashlib.sha256(key).digest())) for key in boundary_keys(2500)]

    def pages_above(pages: list[tuple[bytes, Place]]) -> set[bytes]:
        store = PageStore()
        inner_level(pages, 1, store.store)
        return set(store.pages)

    before = pages_above(links)
    assert len(before) >= 3
    for changed in (
        links[1:],
        links[:40] + links[41:],
        [(b"", place_of(bytes(32))), *links],
    ):
        after = pages_above(changed)
        assert len(after - before) <= 2
        assert before & after


@pytest.mark.parametrize("at", [0, 299, 611])
def test_one_changed_value_rewrites_one_leaf_and_the_path_to_it(at: int) -> None:
    entries, store = deep_table(), PageStore()
    before = build(entries, store.store)
    known = set(store.pages)
    key, value = entries[at]
    entries[at] = key, value[:-1] + b"!"
    after = build(entries, store.store)
    assert after != before
    assert len(set(store.pages) - known) == 2


@pytest.mark.parametrize("number", [0, 1, 777, 4_321, 9_999])
def test_a_single_key_is_found_by_reading_one_page(number: int) -> None:
    entries, store = table(10_000), PageStore()
    root = build(entries, store.store)
    key = entries[number][0]
    found = list(read_tree(root, store.load, start=key, stop=key + b"\x00"))
    assert found == [entries[number]]
    assert len(store.loaded) == 1


def test_a_range_in_a_deep_tree_reads_one_path() -> None:
    entries, store = deep_table(), PageStore()
    root = build(entries, store.store)
    key = entries[300][0]
    assert list(read_tree(root, store.load, start=key, stop=key + b"\x00")) == [entries[300]]
    assert len(store.loaded) == 2


def test_nothing_is_read_beyond_what_is_asked_for() -> None:
    entries, store = table(10_000), PageStore()
    root = build(entries, store.store)
    first = next(read_tree(root, store.load))
    assert first == entries[0]
    assert len(store.loaded) == 1
    store.loaded.clear()
    assert list(read_tree(root, store.load, start=b"z")) == []
    assert list(read_tree(root, store.load, stop=entries[0][0])) == []
    assert len(store.loaded) <= 1


def test_a_missing_page_is_told_and_other_ranges_are_read() -> None:
    entries, store = table(10_000), PageStore()
    root = build(entries, store.store)
    del store.pages[root.pages[2][1].pack]
    end = root.pages[2][0]
    assert list(read_tree(root, store.load, stop=end)) == [e for e in entries if e[0] < end]
    with pytest.raises(ObjectMissingError):
        list(read_tree(root, store.load))


@pytest.mark.parametrize(("claimed", "match"), [(9_999, "more"), (10_001, "fewer"), (0, "more")])
def test_a_tree_of_another_number_of_entries_than_its_root_says_is_refused(
    claimed: int, match: str
) -> None:
    entries, store = table(10_000), PageStore()
    wrong = replace(build(entries, store.store), entry_count=claimed)
    with pytest.raises(DecodeError, match=f"it holds {match} entries than its root says"):
        list(read_tree(wrong, store.load))


# --- Trees that do not hold together ---------------------------------------------------------

A, B, C, D = ((key, b"value of " + key) for key in (b"a", b"b", b"c", b"d"))


def tree_of(store: PageStore, *pages: tuple[bytes, list[Pair]], levels: int = 0) -> TreeRoot:
    """A root that lists these pages under these keys, right or wrong."""
    listed = tuple((key, store.store(encode_page(entries))) for key, entries in pages)
    return TreeRoot(levels, 4, listed)


def link(store: PageStore, key: bytes, entries: list[Pair]) -> Pair:
    """An entry of an inner page."""
    return key, encode_place(store.store(encode_page(entries)))


def test_the_pages_of_the_following_tests_are_fine_in_their_right_order() -> None:
    store = PageStore()
    root = tree_of(store, (b"a", [A, B]), (b"c", [C, D]))
    assert list(read_tree(root, store.load)) == [A, B, C, D]
    inner = [link(store, b"a", [A, B]), link(store, b"c", [C, D])]
    root = tree_of(store, (b"a", inner), levels=1)
    assert list(read_tree(root, store.load)) == [A, B, C, D]


def rejected(root: TreeRoot, store: PageStore, *, match: str) -> None:
    with pytest.raises(DecodeError, match=match):
        list(read_tree(root, store.load))


@pytest.mark.parametrize(
    ("damaged", "first_key", "left"),
    [
        ("leaf", b"b", [A, C, D]),
        ("inner page", b"a", [C, D]),
        ("place in an inner page", b"a", [C, D]),
    ],
)
def test_whoever_is_told_of_damage_gets_everything_else(
    damaged: str, first_key: bytes, left: list[Pair]
) -> None:
    store = PageStore()
    links = [link(store, entry[0], [entry]) for entry in (A, B, C, D)]
    if damaged == "place in an inner page":
        links[1] = b"b", b"no place"
    root = tree_of(store, (b"a", links[:2]), (b"c", links[2:]), levels=1)
    if damaged == "leaf":
        store.pages[decode_place(links[1][1]).pack] = b"rubbish"
    if damaged == "inner page":
        store.pages[root.pages[0][1].pack] = b"rubbish"
    told: list[tuple[bytes, CorruptError]] = []
    found = list(read_tree(root, store.load, on_damage=lambda *damage: told.append(damage)))
    assert found == left
    assert [key for key, _ in told] == [first_key]


@pytest.mark.parametrize("levels", [0, 1])
def test_a_page_that_does_not_begin_with_its_listed_key_is_refused(levels: int) -> None:
    store = PageStore()
    if levels:
        wrong = tree_of(store, (b"a", [link(store, b"a", [B, C])]), levels=1)
        shifted = tree_of(store, (b"b", [link(store, b"a", [A, B])]), levels=1)
    else:
        wrong = tree_of(store, (b"a", [B, C]))
        shifted = tree_of(store, (b"b", [A, B]))
    rejected(wrong, store, match="does not begin with the key")
    rejected(shifted, store, match="does not begin with the key")


def test_an_empty_page_is_refused() -> None:
    store = PageStore()
    rejected(tree_of(store, (b"a", [])), store, match="does not begin with the key")


def test_a_page_that_reaches_into_the_next_one_is_refused() -> None:
    store = PageStore()
    overlapping = tree_of(store, (b"a", [A, C]), (b"c", [C, D]))
    rejected(overlapping, store, match="reaches into the next one")
    # The last leaf below an inner page is held against the next inner page.
    first = [link(store, b"a", [A]), link(store, b"b", [B, D])]
    second = [link(store, b"c", [C])]
    deep = tree_of(store, (b"a", first), (b"c", second), levels=1)
    rejected(deep, store, match="reaches into the next one")


def test_pages_listed_out_of_order_or_twice_are_refused() -> None:
    store = PageStore()
    rejected(tree_of(store, (b"c", [C, D]), (b"a", [A, B])), store, match="reaches into")
    rejected(tree_of(store, (b"a", [A, B]), (b"a", [A, B])), store, match="reaches into")


def test_a_leaf_listed_as_an_inner_page_is_refused() -> None:
    store = PageStore()
    rejected(tree_of(store, (b"a", [A, B]), levels=1), store, match="page place")
    rejected(tree_of(store, (b"a", [link(store, b"a", [A])]), levels=2), store, match="page place")


def test_a_tree_that_leads_back_to_itself_ends() -> None:
    """Places can be forged into a circle; the number of levels is what ends it."""

    def load(_: Place) -> bytes:
        return encode_page([(b"a", encode_place(place_of(bytes(32))))])

    root = TreeRoot(LEVELS_MAX, 1, ((b"a", place_of(bytes(32))),))
    assert list(read_tree(root, load)) == decode_page(load(place_of(bytes(32))))
