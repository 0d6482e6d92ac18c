"""Where a directory store keeps what: both ways, and damage is always noticed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from name_strategies import NAMES
from safelight_vault.store import directory_layout as layout
from safelight_vault.store.names import is_valid_name

VERSION_IDS = st.from_regex(r"\A[a-z0-9-]{1,64}\Z")
DATES = st.integers(0, 10**10).map(
    lambda seconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)


@given(NAMES)
def test_a_path_gives_its_name_back(name: str) -> None:
    *parents, last = layout.object_path(name)
    shard = layout.shard_digits(parents[-1]) if parents else None
    segment = layout.object_segment(last, shard=shard)
    plain = parents[:-1] if shard is not None else parents
    assert segment is not None
    assert "/".join([*plain, segment]) == name


@given(NAMES)
def test_no_part_of_a_path_can_be_taken_for_another_kind(name: str) -> None:
    *parents, last = layout.object_path(name)
    assert not is_valid_name(last)
    for part in parents:
        kinds = [layout.shard_digits(part) is not None, is_valid_name(part)]
        assert kinds.count(True) == 1
        assert layout.object_segment(part, shard=None) is None
    assert layout.MARKER not in {*parents, last}
    assert layout.INCOMING not in {*parents, last}


def test_a_digest_is_filed_by_its_first_digits_and_nothing_else_is() -> None:
    digest = "3f" * 32
    assert layout.object_path(f"packs/a/{digest}") == ("packs", "a", "@3f", f"{digest}@")
    assert layout.object_path(f"config/01-{digest}") == ("config", f"01-{digest}@")
    assert layout.object_segment(f"{digest}@", shard="aa") is None, "it could not be found there"
    assert layout.object_segment(f"{digest}@", shard=None) is None


@given(VERSION_IDS, DATES)
def test_a_lock_file_name_comes_back(version_id: str, date: datetime) -> None:
    file = layout.lock_file(version_id, date)
    assert layout.parse_lock_file(file) == (version_id, date)
    assert not layout.is_version_id(file)


@given(st.text(max_size=60))
def test_what_parses_as_a_lock_file_is_written_so(file: str) -> None:
    parsed = layout.parse_lock_file(file)
    if parsed is not None:
        assert layout.lock_file(*parsed) == file


@pytest.mark.parametrize(
    "file", ["v.until-20269999T000000Z", "v.until-20261124T054200", "v", "v.until-", ".until-x"]
)
def test_other_files_are_no_lock_files(file: str) -> None:
    assert layout.parse_lock_file(file) is None


@given(NAMES, VERSION_IDS, DATES)
def test_a_lock_record_comes_back(name: str, version_id: str, date: datetime) -> None:
    data = layout.encode_lock_record(name, version_id, date)
    assert len(data) <= layout.LOCK_RECORD_SIZE_MAX
    assert layout.decode_lock_record(data, name=name, version_id=version_id) == date


def test_every_flipped_bit_of_a_lock_record_makes_it_no_lock() -> None:
    date = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    data = layout.encode_lock_record("a", "v", date)
    for position in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        assert layout.decode_lock_record(bytes(damaged), name="a", version_id="v") is None


@given(st.binary(max_size=150))
def test_no_bytes_can_crash_the_decoder(data: bytes) -> None:
    assert layout.decode_lock_record(data, name="a", version_id="v") is None


def test_a_lock_record_of_another_version_or_name_is_no_lock() -> None:
    date = datetime(2030, 1, 2, tzinfo=UTC)
    data = layout.encode_lock_record("a", "v", date)
    assert layout.decode_lock_record(data, name="b", version_id="v") is None
    assert layout.decode_lock_record(data, name="a", version_id="w") is None
    for changed in (data + b"\n", data[:-1], data.replace(b" ", b"  ", 1), b" " + data):
        assert layout.decode_lock_record(changed, name="a", version_id="v") is None
