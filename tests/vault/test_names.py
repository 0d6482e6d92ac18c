"""Object names are read back exactly as written, and every other string is refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight_vault.errors import DecodeError
from safelight_vault.format.names import (
    CANARY_PREFIX,
    SEQUENCE_MAX,
    Kind,
    ObjectName,
    parse_name,
    prefix_of,
)
from safelight_vault.store.names import is_valid_name

DIGEST = "ab" * 32
OWNER = "cd" * 16
SOURCE = "ef" * 16
OF_CONFIGURATION = f"config/0000000001-{DIGEST}"
OF_PACK = f"packs/{OWNER}/{DIGEST}"
OF_SNAPSHOT = f"snapshots/{OWNER}/{SOURCE}/0000000042-{DIGEST}"


@st.composite
def object_names(draw: st.DrawFn) -> ObjectName:
    kind = draw(st.sampled_from(Kind))
    ids = st.binary(min_size=16, max_size=16)
    numbered = kind in {Kind.CONFIG, Kind.SNAPSHOT, Kind.AUDIT}
    return ObjectName(
        kind=kind,
        digest=draw(st.binary(min_size=32, max_size=32)),
        owner=None if kind is Kind.CONFIG else draw(ids),
        source=draw(ids) if kind is Kind.SNAPSHOT else None,
        sequence=draw(st.integers(1, SEQUENCE_MAX)) if numbered else None,
    )


@given(object_names())
def test_a_name_is_read_back(name: ObjectName) -> None:
    assert parse_name(str(name)) == name


@given(object_names())
def test_every_store_accepts_every_name(name: ObjectName) -> None:
    assert is_valid_name(str(name))


@given(object_names())
def test_a_name_lies_below_the_prefixes_of_its_parts(name: ObjectName) -> None:
    path = [part for part in (name.owner, name.source) if part is not None]
    for depth in range(len(path) + 1):
        assert str(name).startswith(prefix_of(name.kind, *path[:depth]))


@given(object_names(), st.data())
def test_a_changed_character_gives_another_name_or_none(
    name: ObjectName, data: st.DataObject
) -> None:
    text = str(name)
    at = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.characters(exclude_characters=text[at]))
    changed = text[:at] + character + text[at + 1 :]
    try:
        found = parse_name(changed)
    except DecodeError:
        return
    assert found != name
    assert str(found) == changed


@given(st.text(max_size=200) | st.text("0123456789abcdef/-packsindex", max_size=200))
def test_foreign_text_raises_nothing_but_decode_errors(text: str) -> None:
    with contextlib.suppress(DecodeError):
        assert str(parse_name(text)) == text


def test_names_look_as_documented() -> None:
    assert parse_name(OF_CONFIGURATION) == ObjectName(
        kind=Kind.CONFIG, digest=bytes.fromhex(DIGEST), sequence=1
    )
    assert parse_name(OF_PACK) == ObjectName(
        kind=Kind.PACK, digest=bytes.fromhex(DIGEST), owner=bytes.fromhex(OWNER)
    )
    assert parse_name(OF_SNAPSHOT) == ObjectName(
        kind=Kind.SNAPSHOT,
        digest=bytes.fromhex(DIGEST),
        owner=bytes.fromhex(OWNER),
        source=bytes.fromhex(SOURCE),
        sequence=42,
    )


@pytest.mark.parametrize(
    "name",
    [
        "",
        DIGEST,
        f"packs/{DIGEST}",
        f"packs/{OWNER}/{SOURCE}/{DIGEST}",
        f"packs/{OWNER}/0000000001-{DIGEST}",
        f"config/{DIGEST}",
        f"config/0000000000-{DIGEST}",
        f"config/{OWNER}/0000000001-{DIGEST}",
        f"snapshots/{OWNER}/0000000001-{DIGEST}",
        f"snapshots/{OWNER}/{SOURCE}/{DIGEST}",
        f"snapshots/{OWNER}/{SOURCE}/1-{DIGEST}",
        f"snapshots/{OWNER}/{SOURCE}/00000000001-{DIGEST}",
        f"chests/{OWNER}/{DIGEST}",
        OF_PACK.upper(),
        OF_PACK + "\n",
        OF_PACK + "/",
        "/" + OF_PACK,
        OF_PACK[:-1],
        OF_PACK + "0",
        OF_PACK.replace("/", "//", 1),
        OF_PACK.replace("a", "\uff41", 1),
        OF_SNAPSHOT.replace("42", "\u0664\u0662"),
        f"../{OF_PACK}",
        CANARY_PREFIX + DIGEST,
    ],
)
def test_what_is_not_exactly_a_name_is_refused(name: str) -> None:
    with pytest.raises(DecodeError, match="not a name of a vault object"):
        parse_name(name)
