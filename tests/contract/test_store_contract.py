"""What every store must do, run on each: memory, directory, wrappers, and S3 on two real servers.

A store that does not pass this file cannot hold a vault.
"""

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from safelight_vault.errors import (
    CorruptError,
    DecodeError,
    NameTakenError,
    ObjectMissingError,
)
from safelight_vault.store import LockMode
from store_cases import HOUR, StoreCase, system_now

BODY = b"0123456789" * 10


def digest_name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_was_put_comes_back_by_name_and_by_version(case: StoreCase) -> None:
    name = case.fresh() + digest_name(BODY)
    version_id = case.put(name, BODY)
    assert case.store.get(name) == BODY
    assert case.store.get(name, version_id) == BODY


def test_a_body_in_many_pieces_arrives_as_one(case: StoreCase) -> None:
    data = random.Random(1).randbytes(3 << 20)
    pieces: list[bytes | bytearray | memoryview] = [
        b"",
        data[:1],
        bytearray(data[1:70_000]),
        memoryview(data)[70_000:],
        b"",
    ]
    name = case.fresh() + digest_name(data)
    digest = hashlib.sha256(data).digest()
    case.store.put(name, pieces, sha256=digest, retain_until=system_now() + HOUR)
    assert case.store.get(name) == data
    assert case.store.head(name).size_bytes == len(data)


def test_an_empty_body_is_an_object(case: StoreCase) -> None:
    name = case.fresh() + "empty"
    version_id = case.put(name, b"")
    assert case.store.get(name, version_id) == b""
    assert case.store.head(name, version_id).size_bytes == 0


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 1, BODY[:1]),
        (0, 100, BODY),
        (13, 20, BODY[13:33]),
        (99, 1, BODY[99:]),
        (40, None, BODY[40:]),
        (100, None, b""),
        (100, 0, b""),
        (0, 0, b""),
    ],
)
def test_a_range_is_exactly_what_was_asked_for(
    case: StoreCase, offset: int, length: int | None, expected: bytes
) -> None:
    name = case.fresh() + "ranges"
    version_id = case.put(name, BODY)
    assert case.store.get(name, version_id, offset=offset, length=length) == expected


@pytest.mark.parametrize(("offset", "length"), [(0, 101), (99, 2), (100, 1), (101, None), (101, 0)])
def test_a_range_past_the_end_is_missing(case: StoreCase, offset: int, length: int | None) -> None:
    name = case.fresh() + "ranges"
    version_id = case.put(name, BODY)
    with pytest.raises(ObjectMissingError):
        case.store.get(name, version_id, offset=offset, length=length)


def test_an_absent_name_is_missing(case: StoreCase) -> None:
    name = case.fresh() + "absent"
    with pytest.raises(ObjectMissingError):
        case.store.get(name)
    with pytest.raises(ObjectMissingError):
        case.store.get(name, offset=3, length=5)
    with pytest.raises(ObjectMissingError):
        case.store.head(name)
    assert list(case.store.list_versions(name)) == []


@pytest.mark.parametrize("kind_of_id", ["of another object", "never given by this store"])
def test_an_absent_version_is_missing(case: StoreCase, kind_of_id: str) -> None:
    name = case.fresh() + "present"
    case.put(name, BODY)
    other = case.put(case.fresh() + "other", b"another body")
    version_id = other if kind_of_id == "of another object" else "0123456789abcdef"
    with pytest.raises(ObjectMissingError):
        case.store.get(name, version_id)
    with pytest.raises(ObjectMissingError):
        case.store.head(name, version_id)
    with pytest.raises(ObjectMissingError):
        case.store.extend(name, version_id, system_now() + 2 * HOUR)


def test_a_body_with_another_digest_is_refused_and_leaves_no_object(case: StoreCase) -> None:
    name = case.fresh() + digest_name(BODY)
    wrong = hashlib.sha256(b"something else").digest()
    with pytest.raises(CorruptError):
        case.store.put(name, [BODY], sha256=wrong, retain_until=system_now() + HOUR)
    assert list(case.store.list_versions(name)) == []


def test_a_taken_name_keeps_its_first_version_whatever_comes_after(case: StoreCase) -> None:
    name = case.fresh() + "taken"
    first = case.put(name, BODY)
    if case.second_put_makes_a_version:
        assert case.put(name, b"later") != first
    else:
        with pytest.raises(NameTakenError):
            case.put(name, b"later")
        assert [version.version_id for version in case.store.list_versions(name)] == [first]
    assert case.store.get(name, first) == BODY


def test_of_many_puts_at_once_one_wins_or_all_are_kept(case: StoreCase) -> None:
    name = case.fresh() + "contended"
    bodies = [f"writer {number}".encode() * 1000 for number in range(6)]

    def attempt(body: bytes) -> str | None:
        try:
            return case.put(name, body)
        except NameTakenError:
            return None

    with ThreadPoolExecutor(len(bodies)) as pool:
        outcomes = list(pool.map(attempt, bodies))
    winners = dict(zip(outcomes, bodies, strict=True))
    winners.pop(None, None)
    assert len(winners) == (len(bodies) if case.second_put_makes_a_version else 1)
    listed = {version.version_id for version in case.store.list_versions(name)}
    assert listed == set(winners)
    for version_id, body in winners.items():
        assert case.store.get(name, version_id) == body


def test_many_puts_of_different_names_at_once_all_arrive(case: StoreCase) -> None:
    area = case.fresh()
    bodies = {area + digest_name(b"%d" % number): b"%d" % number for number in range(24)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(case.put, bodies, bodies.values()))
        read = list(pool.map(case.store.get, bodies))
    assert read == list(bodies.values())
    assert [version.name for version in case.store.list_versions(area)] == sorted(bodies)


def test_an_overwritten_object_is_still_there_under_its_version(case: StoreCase) -> None:
    name = case.fresh() + digest_name(BODY)
    first = case.put(name, BODY)
    second = case.overwrite(name, b"laid over it")
    third = case.overwrite(name, b"and once more")
    assert case.store.get(name) == b"and once more"
    assert case.store.get(name, second) == b"laid over it"
    assert case.store.get(name, first) == BODY
    assert case.store.get(name, first, offset=10, length=5) == BODY[10:15]
    listed = list(case.store.list_versions(name))
    assert [version.version_id for version in listed] == [third, second, first]
    assert [version.is_latest for version in listed] == [True, False, False]
    assert [version.size_bytes for version in listed] == [13, 12, len(BODY)]
    assert case.store.head(name).version_id == third
    assert case.store.head(name, third).lock_mode is LockMode.NONE
    assert case.store.head(name, third).retain_until is None
    assert case.store.head(name, first).lock_mode is case.store.lock_mode


def test_behind_a_delete_marker_the_object_is_still_there(case: StoreCase) -> None:
    if case.lay_delete_marker is None:
        assert case.store.lock_mode is LockMode.EMULATED
        return
    name = case.fresh() + "marked"
    version_id = case.put(name, BODY)
    case.lay_delete_marker(name)
    with pytest.raises(ObjectMissingError):
        case.store.get(name)
    with pytest.raises(ObjectMissingError):
        case.store.head(name)
    assert case.store.get(name, version_id) == BODY
    marker, version = case.store.list_versions(name)
    assert (marker.is_delete_marker, marker.is_latest, marker.size_bytes) == (True, True, 0)
    assert (version.is_delete_marker, version.is_latest) == (False, False)
    assert version.version_id == version_id
    for operation in (case.store.get, case.store.head):
        with pytest.raises(ObjectMissingError):
            operation(name, marker.version_id)
    assert case.store.head(name, version_id).lock_mode is case.store.lock_mode


def test_a_listing_is_in_order_of_names_and_keeps_to_its_prefix(case: StoreCase) -> None:
    area = case.fresh()
    names = [
        area + f"{owner}/{digest_name(owner.encode() + b'%d' % number)}"
        for owner in ("aa", "ab", "b")
        for number in range(5)
    ]
    names += [area + f"config/000000000{number}-{digest_name(b'%d' % number)}" for number in (1, 2)]
    for name in random.Random(2).sample(names, len(names)):
        case.put(name, name.encode())

    def listed(prefix: str) -> list[str]:
        return [version.name for version in case.store.list_versions(prefix)]

    assert listed(area) == sorted(names)
    for prefix in ("a", "aa/", "ab", "ab/0", "b/", "config/0000000001-", "config/1", "c/"):
        expected = sorted(name for name in names if name.startswith(area + prefix))
        assert listed(area + prefix) == expected
    for name in names[:3]:
        assert listed(name) == [name]
    everything = listed("")
    assert set(names) <= set(everything)
    assert everything == sorted(everything)


def test_a_listed_version_says_what_a_head_says(case: StoreCase) -> None:
    name = case.fresh() + digest_name(BODY)
    before = system_now() - timedelta(seconds=2)
    version_id = case.put(name, BODY)
    (version,) = case.store.list_versions(name)
    head = case.store.head(name)
    assert (version.name, version.version_id, version.size_bytes) == (name, version_id, 100)
    assert (head.name, head.version_id, head.size_bytes) == (name, version_id, 100)
    assert (version.is_latest, version.is_delete_marker) == (True, False)
    assert before <= version.modified <= system_now() + timedelta(seconds=2)
    assert version.modified.utcoffset() == timedelta()


@pytest.mark.parametrize(
    "name",
    ["", "/", "a/", "/a", "a//b", "../a", "a/../b", ".", "a/.", "A", "a b", "a\n", "ü", "a\0",
     "a@", "a/" * 300 + "a", "x" * 200],
)  # fmt: skip
def test_a_name_that_is_none_is_refused_on_the_way_in(case: StoreCase, name: str) -> None:
    with pytest.raises(DecodeError):
        case.put(name, BODY)
    with pytest.raises(DecodeError):
        case.store.get(name)
    with pytest.raises(DecodeError):
        case.store.head(name)
    with pytest.raises(DecodeError):
        case.store.extend(name, "id", system_now() + HOUR)


@pytest.mark.parametrize("prefix", ["/", "../", "a/../", "A", "a//", "a b", "a@"])
def test_a_prefix_that_is_none_is_refused(case: StoreCase, prefix: str) -> None:
    with pytest.raises(DecodeError):
        list(case.store.list_versions(prefix))


def test_longest_name_and_oddest_characters_are_kept(case: StoreCase) -> None:
    area = case.fresh()
    for name in (area + "a.b_c-d..e", area + "/".join(["s" * 120] * 4), area + ".hidden/-x/_"):
        version_id = case.put(name, name.encode())
        assert case.store.get(name, version_id) == name.encode()
        assert [version.name for version in case.store.list_versions(name)] == [name]


def test_the_store_tells_the_time(case: StoreCase) -> None:
    now = case.store.now()
    assert now.utcoffset() == timedelta()
    assert abs(now - system_now()) < timedelta(seconds=3)


def test_the_store_knows_its_url_and_mode(case: StoreCase) -> None:
    assert "://" in case.store.url
    assert case.store.lock_mode in {LockMode.COMPLIANCE, LockMode.EMULATED}
