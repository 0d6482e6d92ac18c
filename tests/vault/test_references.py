"""Reference tables name objects in order, signed, and are cut so that old segments stay."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import OTHER_VAULT_ID, SOURCE_ID, VAULT_ID, agent_id, fixed_bytes, signing_key
from name_strategies import version_ids
from safelight_vault.errors import CorruptError, DecodeError, UnsupportedFormatError
from safelight_vault.format.envelope import Structure, encode_plain, encode_signed
from safelight_vault.format.names import Kind, ObjectName
from safelight_vault.format.references import (
    ENTRIES_MAX,
    SEGMENTS_MAX,
    Reference,
    Table,
    decode_segment,
    decode_table,
    encode_segment,
    encode_table,
    segments_of,
)
from strictness import (
    outcome,
    require_exact_length,
    require_only_vault_errors,
    require_tamper_evident,
)


def pack_reference(number: int) -> Reference:
    digest = hashlib.sha256(b"pack %d" % number).digest()
    name = ObjectName(kind=Kind.PACK, owner=agent_id(), digest=digest)
    return Reference(name, f"version-{number}", 1000 + number, fixed_bytes(f"header {number}"))


DIGESTS = st.binary(min_size=32, max_size=32)
NO_DIGEST = st.just(b"")


def references_to(
    *kinds: Kind, header: st.SearchStrategy[bytes] = NO_DIGEST
) -> st.SearchStrategy[Reference]:
    return st.builds(
        Reference,
        st.builds(
            ObjectName,
            kind=st.sampled_from(kinds),
            owner=st.binary(min_size=16, max_size=16),
            digest=DIGESTS,
        ),
        version_ids(),
        st.integers(0, 2**64 - 1),
        header,
    )


REFERENCES = references_to(Kind.INDEX, Kind.AGENT, Kind.TABLE) | references_to(
    Kind.PACK, header=DIGESTS
)
SEGMENTS = references_to(Kind.REFERENCES)

TABLE = Table(
    agent_id=agent_id(),
    source_id=SOURCE_ID,
    sequence=7,
    object_count=3000,
    size_bytes=2**40,
    segments=tuple(
        Reference(
            ObjectName(kind=Kind.REFERENCES, owner=agent_id(), digest=fixed_bytes(name)), name, 9
        )
        for name in ("first", "second")
    ),
)


def decode(data: bytes) -> Table:
    return decode_table(data, vault_id=VAULT_ID, key=signing_key().verifying_key)


# --- Segments --------------------------------------------------------------------------------


@given(st.lists(REFERENCES, max_size=6))
def test_a_segment_is_read_back(references: list[Reference]) -> None:
    data = encode_segment(VAULT_ID, references)
    assert decode_segment(data, VAULT_ID) == references
    assert encode_segment(VAULT_ID, references) == data


def test_a_segment_has_exactly_one_length_and_form() -> None:
    data = encode_segment(VAULT_ID, [pack_reference(number) for number in range(3)])
    require_exact_length(lambda cut: decode_segment(cut, VAULT_ID), data)
    require_only_vault_errors(lambda changed: decode_segment(changed, VAULT_ID), data)


@given(st.binary(max_size=200))
def test_foreign_segments_raise_nothing_but_vault_errors(body: bytes) -> None:
    framed = encode_plain(Structure.REFERENCES, VAULT_ID, body)
    for data in (body, framed):
        outcome(lambda foreign: decode_segment(foreign, VAULT_ID), data)


def test_a_segment_of_another_vault_is_refused() -> None:
    with pytest.raises(DecodeError, match="another vault"):
        decode_segment(encode_segment(OTHER_VAULT_ID, []), VAULT_ID)


def test_a_segment_of_too_many_references_is_refused_before_they_are_read() -> None:
    body = (ENTRIES_MAX + 1).to_bytes(4, "big")
    with pytest.raises(DecodeError, match="exceeds the limit"):
        decode_segment(encode_plain(Structure.REFERENCES, VAULT_ID, body), VAULT_ID)


def test_a_reference_to_what_is_no_object_is_refused() -> None:
    data = encode_segment(VAULT_ID, [pack_reference(1)])
    with pytest.raises(DecodeError, match="not a name"):
        decode_segment(data.replace(b"packs/", b"pack%/"), VAULT_ID)


@pytest.mark.parametrize("version_id", ["", " ", "a b", "a\n", "\x7f", "\u00e9"])
def test_a_version_id_that_is_not_printable_ascii_is_refused(version_id: str) -> None:
    odd = replace(pack_reference(1), version_id=version_id)
    with pytest.raises(DecodeError, match="not a version id"):
        decode_segment(encode_segment(VAULT_ID, [odd]), VAULT_ID)


def test_only_a_pack_has_a_header_digest() -> None:
    index = ObjectName(kind=Kind.INDEX, owner=agent_id(), digest=fixed_bytes("index"))
    plain = Reference(index, "v1", 1, fixed_bytes("ignored"))
    data = encode_segment(VAULT_ID, [plain])
    assert decode_segment(data, VAULT_ID) == [replace(plain, header_digest=b"")]
    pack = pack_reference(1)
    assert len(encode_segment(VAULT_ID, [pack])) == 34 + 8 + len(str(pack.name)) + 9 + 8 + 32
    with pytest.raises(ValueError, match="32 bytes"):
        encode_segment(VAULT_ID, [replace(pack, header_digest=b"")])


# --- How references are cut into segments ----------------------------------------------------


@given(st.lists(st.integers(0, 100_000), unique=True, max_size=300))
def test_segments_together_are_the_references_in_order(numbers: list[int]) -> None:
    references = [pack_reference(number) for number in numbers]
    segments = list(segments_of(references))
    assert [reference for segment in segments for reference in segment] == references
    assert all(segments)


def test_appending_references_keeps_every_segment_but_the_last() -> None:
    references = [pack_reference(number) for number in range(9000)]
    before = list(segments_of(references[:8000]))
    after = list(segments_of(references))
    assert len(before) > 3
    assert after[: len(before) - 1] == before[:-1]


def test_removing_old_references_changes_one_segment() -> None:
    references = [pack_reference(number) for number in range(9000)]
    before = [encode_segment(VAULT_ID, segment) for segment in segments_of(references)]
    del references[4000:4010]
    after = [encode_segment(VAULT_ID, segment) for segment in segments_of(references)]
    assert len(set(after) - set(before)) <= 2


def test_a_segment_ends_at_the_limit_whatever_the_digests_say() -> None:
    never = bytes(30) + b"\x00\x01"
    name = ObjectName(kind=Kind.PACK, owner=agent_id(), digest=never)
    references = [Reference(name, str(number), 1, bytes(32)) for number in range(ENTRIES_MAX + 1)]
    assert [len(segment) for segment in segments_of(references)] == [ENTRIES_MAX, 1]
    assert decode_segment(encode_segment(VAULT_ID, references[:ENTRIES_MAX]), VAULT_ID)


# --- Tables ----------------------------------------------------------------------------------


@given(
    st.builds(
        Table,
        agent_id=st.binary(min_size=16, max_size=16),
        source_id=st.binary(min_size=16, max_size=16),
        sequence=st.integers(0, 2**64 - 1),
        object_count=st.integers(0, 2**64 - 1),
        size_bytes=st.integers(0, 2**64 - 1),
        segments=st.lists(SEGMENTS, max_size=4).map(tuple),
    )
)
def test_a_table_is_read_back(table: Table) -> None:
    assert decode(encode_table(VAULT_ID, table, signing_key())) == table


def test_a_table_has_exactly_one_length_and_every_flip_is_noticed() -> None:
    data = encode_table(VAULT_ID, TABLE, signing_key())
    require_exact_length(decode, data)
    require_tamper_evident(decode, data)


def test_a_table_whose_segments_are_something_else_is_refused() -> None:
    odd = replace(TABLE, segments=(pack_reference(1),))
    with pytest.raises(DecodeError, match="not a reference segment"):
        decode(encode_table(VAULT_ID, odd, signing_key()))


def test_a_table_signed_by_another_agent_is_refused() -> None:
    with pytest.raises(CorruptError, match="not trusted"):
        decode(encode_table(VAULT_ID, TABLE, signing_key("intruder")))


def test_a_table_of_another_vault_is_refused() -> None:
    with pytest.raises(DecodeError, match="another vault"):
        decode(encode_table(OTHER_VAULT_ID, TABLE, signing_key()))


@given(st.binary(max_size=200))
def test_authentic_foreign_tables_raise_nothing_but_vault_errors(body: bytes) -> None:
    outcome(decode, encode_signed(Structure.TABLE, VAULT_ID, body, signing_key()))
    outcome(decode, body)


def test_a_table_of_too_many_segments_is_refused_before_they_are_read() -> None:
    data = encode_table(VAULT_ID, replace(TABLE, segments=()), signing_key())
    frame_size = 30
    body = data[frame_size : frame_size + 56] + (SEGMENTS_MAX + 1).to_bytes(4, "big")
    with pytest.raises(DecodeError, match="exceeds the limit"):
        decode(encode_signed(Structure.TABLE, VAULT_ID, body, signing_key()))


def test_a_table_is_no_segment_and_a_newer_one_is_unsupported() -> None:
    data = encode_table(VAULT_ID, TABLE, signing_key())
    with pytest.raises(DecodeError, match="not of the kind"):
        decode_segment(data, VAULT_ID)
    with pytest.raises(UnsupportedFormatError):
        decode(encode_signed(Structure.TABLE, VAULT_ID, b"", signing_key(), version=2))
