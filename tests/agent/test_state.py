"""The agent's local state: a cache that never yields a place it cannot vouch for."""

import sqlite3
from pathlib import Path

import pytest

from keys import SOURCE_ID, VAULT_ID, agent_id, fixed_bytes
from safelight_agent.state import State, open_state
from safelight_agent.state_database import StateDamagedError
from safelight_vault.errors import IncompleteError
from safelight_vault.format.pack import Stream
from safelight_vault.format.place import Place

PACK = fixed_bytes("pack")
CHUNK = fixed_bytes("chunk")
PLACE = Place(PACK, 3, 4096, 1000, 10, 20)


def opened(path: Path, *, vault_id: bytes = VAULT_ID) -> tuple[State, str | None]:
    return open_state(path, vault_id=vault_id, agent_id=agent_id())


def filled(path: Path, *, uploaded: bool = True) -> State:
    state, _ = opened(path)
    row = state.begin_pack(PACK, SOURCE_ID, Stream.DATA)
    state.add_chunk(CHUNK, row, PLACE)
    if uploaded:
        state.pack_uploaded(
            row,
            digest=fixed_bytes("digest"),
            header_digest=fixed_bytes("header"),
            version_id="v1",
            size_bytes=5000,
            retain_until_us=7,
        )
    return state


def test_a_chunk_is_found_where_it_was_put(tmp_path: Path) -> None:
    state = filled(tmp_path / "state")
    assert state.find_chunk(CHUNK) == PLACE
    assert state.find_chunk(fixed_bytes("another")) is None
    state.close()
    again, set_aside = opened(tmp_path / "state")
    assert set_aside is None
    assert again.find_chunk(CHUNK) == PLACE
    again.close()


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    filled(tmp_path / "deep" / "state").close()
    assert (tmp_path / "deep" / "state").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "deep").stat().st_mode & 0o777 == 0o700


def test_a_pack_that_was_not_seen_through_is_forgotten_with_its_chunks(tmp_path: Path) -> None:
    state = filled(tmp_path / "state", uploaded=False)
    assert state.forget_unfinished() == 1
    assert state.find_chunk(CHUNK) is None
    assert state.pack(PACK) is None
    state.close()


@pytest.mark.parametrize("column", ["block_number", "block_offset", "offset", "length"])
def test_a_changed_row_is_never_believed(tmp_path: Path, column: str) -> None:
    filled(tmp_path / "state").close()
    database = sqlite3.connect(tmp_path / "state")
    database.execute(f"update chunks set {column} = {column} + 1")
    database.commit()
    database.close()
    state, _ = opened(tmp_path / "state")
    with pytest.raises(StateDamagedError):
        state.find_chunk(CHUNK)
    state.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"not a database at all" * 400),
        lambda path: path.write_bytes(path.read_bytes()[:3000]),
        lambda path: _set_version(path, 99),
    ],
    ids=["other content", "truncated", "future version"],
)
def test_an_unusable_file_is_set_aside_and_begun_anew(tmp_path: Path, change: object) -> None:
    path = tmp_path / "state"
    filled(path).close()
    assert callable(change)
    change(path)
    state, set_aside = opened(path)
    assert set_aside is not None
    assert state.find_chunk(CHUNK) is None
    assert (tmp_path / "state.set-aside").exists()
    state.close()


def test_the_state_of_another_vault_is_set_aside(tmp_path: Path) -> None:
    filled(tmp_path / "state").close()
    state, set_aside = opened(tmp_path / "state", vault_id=fixed_bytes("other", 16))
    assert set_aside is not None
    assert "another vault" in set_aside
    assert state.find_chunk(CHUNK) is None
    state.close()


def test_an_error_undoes_the_whole_transaction_and_an_inner_one_is_part_of_it(
    tmp_path: Path,
) -> None:
    state, _ = opened(tmp_path / "state")

    def write_and_fail() -> None:
        with state.transaction():
            with state.transaction():
                row = state.begin_pack(PACK, SOURCE_ID, Stream.DATA)
            state.add_chunk(CHUNK, row, PLACE)
            assert state.find_chunk(CHUNK) == PLACE
            raise KeyError("interrupted")

    with pytest.raises(KeyError, match="interrupted"):
        write_and_fail()
    assert state.pack(PACK) is None
    state.close()


def test_a_directory_in_the_place_of_the_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with pytest.raises(IncompleteError, match="cannot be opened"):
        opened(tmp_path / "state")


def _set_version(path: Path, version: int) -> None:
    database = sqlite3.connect(path)
    database.execute(f"pragma user_version = {version}")
    database.commit()
    database.close()
