"""The verification ledger: what comes first, and what happens to a damaged one."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight_restore.ledger import Ledger, Verification, VerifyResult
from safelight_vault.errors import LeaseHeldError

NOW = datetime(2025, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
PACKS = [hashlib.sha256(bytes([number])).digest() for number in range(6)]


def test_never_verified_packs_come_first_then_the_oldest(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.record(PACKS[0], VerifyResult.SOUND, now=NOW - timedelta(days=1))
    ledger.record(PACKS[1], VerifyResult.CORRUPT, now=NOW - timedelta(days=9))
    ledger.record(PACKS[2], VerifyResult.SOUND, now=NOW - timedelta(days=5))
    order = ledger.order(PACKS[:4], now=NOW)
    assert order == [PACKS[3], PACKS[1], PACKS[2], PACKS[0]]
    ledger.close()


def test_what_was_recorded_is_there_the_next_time(tmp_path: Path) -> None:
    with_zone = NOW.astimezone()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.record(PACKS[0], VerifyResult.SOUND, now=NOW - timedelta(days=3))
    ledger.record(PACKS[0], VerifyResult.MISSING, now=with_zone)
    ledger.close()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert ledger.last(PACKS[0]) == Verification(verified_at=NOW, result=VerifyResult.MISSING)
    assert ledger.last(PACKS[1]) is None
    assert ledger.warnings == []
    ledger.close()


def test_a_verification_from_the_future_counts_as_none(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.record(PACKS[0], VerifyResult.SOUND, now=NOW + timedelta(days=3650))
    ledger.record(PACKS[1], VerifyResult.SOUND, now=NOW - timedelta(days=1))
    assert ledger.order(PACKS[:2], now=NOW) == [PACKS[0], PACKS[1]]
    ledger.close()


@given(st.dictionaries(st.sampled_from(PACKS), st.integers(0, 10**9)))
def test_the_order_is_that_of_age_for_any_history(
    tmp_path_factory: pytest.TempPathFactory, ages_seconds: dict[bytes, int]
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")
    for pack, age in ages_seconds.items():
        ledger.record(pack, VerifyResult.SOUND, now=NOW - timedelta(seconds=age))
    order = ledger.order(PACKS, now=NOW)
    assert sorted(order) == sorted(PACKS)
    ages = [ages_seconds.get(pack, 10**12) for pack in order]
    assert ages == sorted(ages, reverse=True)
    ledger.close()


@pytest.mark.parametrize("damage", ["no database", "cut off", "overwritten", "empty", "foreign"])
def test_a_damaged_ledger_is_set_aside_and_begun_anew(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    for number in range(2000):
        name = hashlib.sha256(number.to_bytes(4, "big")).digest()
        ledger.record(name, VerifyResult.SOUND, now=NOW)
    ledger.close()
    data = bytearray(path.read_bytes())
    if damage == "no database":
        data[:] = b"not a database at all, but long enough to be looked at" * 100
    elif damage == "cut off":
        del data[len(data) // 2 :]
    elif damage == "overwritten":
        data[4096:] = b"\xa5" * (len(data) - 4096)
    elif damage == "foreign":
        data[68:72] = b"else"
    else:
        data.clear()
    path.write_bytes(data)
    ledger = Ledger(path)
    assert len(ledger.warnings) == 1
    assert (tmp_path / "ledger.sqlite.damaged").read_bytes() == data
    ledger.record(PACKS[0], VerifyResult.SOUND, now=NOW)
    assert ledger.order(PACKS[:2], now=NOW) == [PACKS[1], PACKS[0]]
    ledger.close()
    assert Ledger(path).warnings == []


def test_damage_found_later_begins_the_ledger_anew_too(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    ledger.record(PACKS[0], VerifyResult.SOUND, now=NOW)
    ledger.close()
    ledger = Ledger(path)
    ledger._database.execute("UPDATE packs SET result = 'no such result'")
    assert ledger.last(PACKS[0]) is None
    assert len(ledger.warnings) == 1
    ledger.close()


def test_two_verifications_cannot_share_a_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with pytest.raises(LeaseHeldError):
        Ledger(tmp_path / "ledger.sqlite")
    ledger.close()
