"""What a drill restores: the newest studies, and a rotation that reaches every file."""

import hashlib
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight_restore.drill.sample import (
    PARTS,
    RING,
    NewestStudies,
    SamplePolicy,
    WholeStudy,
    believable_date,
    place_of,
    rotation_of,
)

VAULT_ID = bytes(range(16))
TODAY = date(2026, 11, 24)
STEPS = (1, 2, 7, 14, 28, 30, 31, 90, 91, 92, 182, 365, 366)
"""Days between two drills: daily to yearly."""


def policy(files: int = 200, percent: float = 0.0, size_bytes: int | None = None) -> SamplePolicy:
    return SamplePolicy(files=files, percent=percent, size_bytes=size_bytes, rotation=0)


def places(count: int) -> list[int]:
    return [place_of(VAULT_ID, "pacs", b"%d" % number) for number in range(count)]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("wanted", [50, 200, 3000])
def test_drills_in_any_rhythm_restore_every_file(step: int, wanted: int) -> None:
    files = places(1500)
    unseen = set(files)
    first = 20_000
    parts = rotation_of(0, total_files=len(files), wanted_files=wanted).parts
    for number in range(first, first + step * parts, step):
        turn = rotation_of(number, total_files=len(files), wanted_files=wanted)
        unseen -= {place for place in unseen if turn.includes(place)}
    assert not unseen


@given(st.integers(0, 10**6), st.integers(1, 10**9), st.integers(1, 10**6))
def test_drills_that_follow_one_another_take_each_part_of_the_ring(
    number: int, total: int, wanted: int
) -> None:
    turn = rotation_of(number, total_files=total, wanted_files=wanted)
    taken: set[int] = set()
    for later in range(number, number + min(turn.drills_for_all, 300)):
        one = rotation_of(later, total_files=total, wanted_files=wanted)
        fresh = {(one.first + part) % one.parts for part in range(one.taken)}
        # Nothing is taken a second time before the ring is full.
        assert len(taken | fresh) in {len(taken) + len(fresh), one.parts}
        taken |= fresh
    if turn.drills_for_all <= 300:
        assert len(taken) == turn.parts


def test_a_number_of_parts_is_a_prime_and_about_twice_the_one_before() -> None:
    for parts in PARTS:
        assert all(parts % divisor for divisor in range(2, int(parts**0.5) + 1)), parts
        assert all(step % parts for step in STEPS if step >= parts), parts
    assert all(2 <= after / before < 2.2 for before, after in pairwise(PARTS))


@given(st.integers(1, 10**9), st.integers(1, 10**6))
def test_a_turn_is_no_larger_than_wanted_and_at_least_about_half(total: int, wanted: int) -> None:
    turn = rotation_of(7, total_files=total, wanted_files=wanted)
    share = turn.taken / turn.parts
    assert share <= max(wanted / total, 1 / PARTS[-1]) + 1e-9
    if total <= wanted:
        assert share == 1
    elif total / wanted < PARTS[-1]:
        assert share > 0.47 * wanted / total


def test_a_file_keeps_its_place_when_the_archive_grows() -> None:
    before = rotation_of(3, total_files=100_000, wanted_files=100)
    after = rotation_of(3, total_files=140_000, wanted_files=100)
    assert before == after
    assert before.parts != rotation_of(3, total_files=400_000, wanted_files=100).parts


def test_files_are_spread_evenly_over_the_ring() -> None:
    tenths = [0] * 10
    for place in places(20_000):
        assert 0 <= place < RING
        tenths[place * 10 // RING] += 1
    assert max(tenths) < 1.2 * min(tenths)


def test_the_place_depends_on_vault_source_and_path() -> None:
    mine = place_of(VAULT_ID, "pacs", b"a")
    others = {
        place_of(bytes(16), "pacs", b"a"),
        place_of(VAULT_ID, "pacs2", b"a"),
        place_of(VAULT_ID, "pacs", b"b"),
    }
    assert len(others | {mine}) == 4
    named = hashlib.blake2b(b"pacs\0a", key=VAULT_ID, digest_size=8).digest()
    assert mine == int.from_bytes(named, "big")


@given(st.integers(0, RING - 1), st.integers(0, 10**6))
def test_what_is_included_is_nearest(place: int, number: int) -> None:
    turn = rotation_of(number, total_files=10**6, wanted_files=100)
    width = turn.taken * RING // turn.parts
    distance = turn.distance(place)
    if turn.includes(place):
        assert distance < width + turn.parts
    else:
        assert distance >= width - turn.parts


@pytest.mark.parametrize(
    ("asked", "total_files", "total_bytes", "wanted"),
    [
        (policy(), 1_000_000, 10**12, 200),
        (policy(), 50, 10**9, 50),
        (policy(percent=1), 1_000_000, 10**12, 10_000),
        (policy(percent=100), 1_000_000, 10**12, 1_000_000),
        (policy(percent=0.001), 1_000_000, 10**12, 200),
        (policy(files=1000, size_bytes=10**8), 1_000_000, 10**12, 100),
        (policy(size_bytes=1), 1_000_000, 10**12, 1),
        (policy(size_bytes=10**13), 1_000_000, 10**12, 200),
        (policy(size_bytes=10**6), 10, 0, 10),
        (policy(), 0, 0, 1),
    ],
)
def test_a_sample_has_at_least_the_files_and_the_percentage_within_the_bytes(
    asked: SamplePolicy, total_files: int, total_bytes: int, wanted: int
) -> None:
    assert asked.wanted_files(total_files, total_bytes) == wanted


@pytest.mark.parametrize(
    ("text", "believed"),
    [
        ("20261124", "20261124"),
        ("19990101", "19990101"),
        ("20261125", ""),
        ("20990101", ""),
        ("", ""),
        ("2026", ""),
        ("2026.01.01", ""),
        ("unknown!", ""),
    ],
)
def test_a_date_that_has_not_come_makes_no_study_new(text: str, believed: str) -> None:
    assert believable_date(text, TODAY) == believed


def study(date_: str, files: int, name: str = "") -> WholeStudy:
    paths = frozenset(b"%s %s %d" % (date_.encode(), name.encode(), n) for n in range(files))
    return WholeStudy(source=0, date=date_, paths=paths)


def chosen(wanted: int, *studies: WholeStudy) -> list[str]:
    newest = NewestStudies(wanted)
    for one in studies:
        newest.offer(one)
    return [one.date for one in newest.chosen()]


def test_the_newest_studies_are_taken_whole() -> None:
    offered = [study("20200101", 5), study("20260101", 5), study("20230101", 5)]
    assert chosen(10, *offered) == ["20260101", "20230101"]
    assert chosen(100, *offered) == ["20260101", "20230101", "20200101"]


def test_the_newest_study_is_taken_whatever_its_size() -> None:
    assert chosen(10, study("20260101", 4000), study("20250101", 5)) == ["20260101"]


def test_a_study_that_is_too_large_makes_way_for_an_older_one() -> None:
    offered = [study("20260101", 3), study("20250101", 4000), study("20240101", 4)]
    assert chosen(10, *offered) == ["20260101", "20240101"]


def test_none_is_kept_when_none_is_wanted() -> None:
    assert chosen(0, study("20260101", 3)) == []


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30))), st.integers(1, 60))
def test_only_what_may_be_chosen_is_held(given_: list[tuple[int, int]], wanted: int) -> None:
    newest = NewestStudies(wanted)
    studies = [study(f"2026{day:04}", files, str(n)) for n, (day, files) in enumerate(given_)]
    for one in studies:
        newest.offer(one)
    taken = newest.chosen()
    if studies:
        assert taken[0].date == max(one.date for one in studies)
        assert sum(len(one.paths) for one in taken[1:]) < max(1, wanted)
    assert newest._files == sum(len(kept.paths) for _, _, kept in newest._kept) < 2 * wanted
    assert taken == sorted(taken, key=lambda one: one.date, reverse=True)
