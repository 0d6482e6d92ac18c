"""Blocks are read only from packs that a signed table vouches for, and damage stays where it is."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faulty_store import Effect, FaultyStore, Operation, fault
from keys import VAULT_ID, CountingRandom, fixed_bytes, identity, run_key
from memory_vaults import CountingStore, chunk_places, put_pack
from pack_samples import CHUNKS, SamplePack, build_pack, pack_bytes
from safelight_vault.blocks import (
    GAP_SIZE_MAX,
    RANGE_SIZE_MAX,
    BlockSource,
    ReferenceMap,
    RunKeyRing,
    coalesce,
)
from safelight_vault.errors import (
    CorruptError,
    ObjectMissingError,
    StoreUnreachableError,
    VaultError,
    WrongIdentityError,
)
from safelight_vault.format.names import Kind, ObjectName
from safelight_vault.format.place import BlockReference
from safelight_vault.format.references import Reference
from safelight_vault.format.run_key import RunKey
from safelight_vault.store import Store

PLAIN = [b"".join(chunks) for chunks in CHUNKS]


def source_of(
    store: Store, *references: Reference, told: list[str] | None = None, who: str = "first"
) -> BlockSource:
    """As a restore opens it that holds one identity."""
    ring = RunKeyRing(store, VAULT_ID, {identity(who).recipient.fingerprint: identity(who)})
    on_tamper = None if told is None else told.append
    return BlockSource(store, ReferenceMap(references), ring, on_tamper=on_tamper)


def block_references(pack: SamplePack) -> list[BlockReference]:
    places = {place.block_number: place for place in chunk_places(pack)}
    return [
        BlockReference(number, place.block_offset, place.block_length)
        for number, place in sorted(places.items())
    ]


def read(blocks: BlockSource, pack: SamplePack) -> list[bytes | type[VaultError]]:
    """The plaintext of every block, or the class of what is wrong with it."""
    results = blocks.read_blocks(pack.digest, block_references(pack))
    return [type(found) if isinstance(found, VaultError) else found for _, found in results]


def flipped(pack: SamplePack, position: int) -> bytes:
    data = bytearray(pack_bytes(pack))
    data[position] ^= 0xFF
    return bytes(data)


# --- Which ranges are asked for --------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.integers(0, GAP_SIZE_MAX * 2), st.integers(1, RANGE_SIZE_MAX + 10)),
        max_size=12,
    )
)
def test_ranges_hold_every_block_once_and_stay_within_their_limits(
    steps: list[tuple[int, int]],
) -> None:
    blocks, end = [], 0
    for number, (gap, length) in enumerate(steps):
        blocks.append(BlockReference(number, end + gap, length))
        end += gap + length
    groups = list(coalesce(blocks))
    assert [block for group in groups for block in group] == blocks
    for group in groups:
        span = group[-1].offset + group[-1].length - group[0].offset
        assert len(group) == 1 or span <= RANGE_SIZE_MAX
        for one, other in pairwise(group):
            assert other.offset - one.offset - one.length <= GAP_SIZE_MAX


def test_neighbours_share_a_range_and_what_overlaps_does_not() -> None:
    near = [BlockReference(0, 100, 50), BlockReference(1, 150 + GAP_SIZE_MAX, 50)]
    assert list(coalesce(near)) == [near]
    far = [near[0], replace(near[1], offset=151 + GAP_SIZE_MAX)]
    assert list(coalesce(far)) == [[far[0]], [far[1]]]
    overlapping = [near[0], replace(near[1], offset=149)]
    assert list(coalesce(overlapping)) == [[overlapping[0]], [overlapping[1]]]


def test_a_pack_is_read_with_two_requests() -> None:
    """One for its header, one for all of its blocks: they lie close together."""
    store, pack = CountingStore(), build_pack(CountingRandom())
    blocks = source_of(store, put_pack(store, pack))
    assert read(blocks, pack) == PLAIN
    assert store.reads == 2


def test_a_header_longer_than_the_first_read_is_read_again() -> None:
    names = ("first", *map(str, range(9)))
    pack = build_pack(CountingRandom(), run=run_key(recipients=names))
    assert len(pack.body[0]) > 8 << 10
    store = CountingStore()
    assert read(source_of(store, put_pack(store, pack), who="8"), pack) == PLAIN


# --- Chunks ----------------------------------------------------------------------------------


def test_chunks_of_a_block_are_read_with_one_request() -> None:
    store, pack = CountingStore(), build_pack(CountingRandom())
    blocks = source_of(store, put_pack(store, pack))
    first, second, *_ = chunk_places(pack)
    assert blocks.load_chunk(first) == CHUNKS[0][0]
    reads = store.reads
    assert blocks.load_chunk(second) == CHUNKS[0][1]
    assert store.reads == reads


def test_a_place_past_the_end_of_its_block_is_damage() -> None:
    store, pack = CountingStore(), build_pack(CountingRandom())
    place = chunk_places(pack)[1]
    with pytest.raises(CorruptError, match="past the end"):
        source_of(store, put_pack(store, pack)).load_chunk(replace(place, length=place.length + 1))


def test_a_pack_outside_the_reference_table_is_not_followed() -> None:
    store, pack = CountingStore(), build_pack(CountingRandom())
    put_pack(store, pack)
    with pytest.raises(CorruptError, match="not in the snapshot's reference table"):
        source_of(store).load_chunk(chunk_places(pack)[0])
    assert store.reads == 0


# --- Damage ----------------------------------------------------------------------------------


def test_a_damaged_block_spoils_only_itself() -> None:
    store, pack = CountingStore(), build_pack(CountingRandom())
    reference = put_pack(store, pack)
    store.damage(str(reference.name), position=chunk_places(pack)[2].block_offset)
    told: list[str] = []
    found = read(source_of(store, reference, told=told), pack)
    assert found == [PLAIN[0], CorruptError, PLAIN[2]]
    assert len(told) == 1


def test_a_pack_cut_short_gives_the_blocks_that_are_left() -> None:
    store, pack = CountingStore(), build_pack(CountingRandom())
    reference = put_pack(store, pack)
    end = block_references(pack)[2].offset
    store.attacker_exchange(str(reference.name), pack_bytes(pack)[:end])
    blocks = source_of(store, reference)
    results = [
        next(iter(blocks.read_blocks(pack.digest, [block])))[1] for block in block_references(pack)
    ]
    assert results[:2] == PLAIN[:2]
    assert isinstance(results[2], CorruptError)


@pytest.mark.parametrize("position", [0, 9, 30, 80, 110, 150, -1])
def test_another_version_with_the_right_bytes_stands_in_for_a_damaged_one(position: int) -> None:
    store, pack = CountingStore(), build_pack(CountingRandom())
    reference = put_pack(store, pack)
    store.attacker_overwrite(str(reference.name), pack_bytes(pack))
    blocks_at = block_references(pack)
    for at in (position, blocks_at[1].offset):
        store.damage(str(reference.name), position=at, version_id=reference.version_id)
    told: list[str] = []
    blocks = source_of(store, reference, told=told)
    assert read(blocks, pack) == PLAIN
    assert reference.version_id in told[0]


def test_a_recorded_version_that_is_gone_is_found_in_another_one() -> None:
    store, pack = CountingStore(), build_pack(CountingRandom())
    reference = replace(put_pack(store, pack), version_id="gone")
    assert read(source_of(store, reference), pack) == PLAIN


def test_a_missing_pack_is_called_missing_for_each_of_its_blocks() -> None:
    store, pack = CountingStore(), build_pack(CountingRandom())
    reference = replace(put_pack(CountingStore(), pack), version_id="gone")
    assert read(source_of(store, reference), pack) == [ObjectMissingError] * 3


@pytest.mark.parametrize("position", [0, 8, 9, 10, 30, 60, 80, 110, 122, 130, 200])
def test_bytes_that_do_not_match_the_name_are_damage_whatever_they_say(position: int) -> None:
    """Never "unsupported" and never "wrong identity": the hash comes first."""
    store, pack = CountingStore(), build_pack(CountingRandom())
    reference = put_pack(store, pack)
    store.attacker_exchange(str(reference.name), flipped(pack, position))
    assert read(source_of(store, reference), pack) == [CorruptError] * 3


def test_an_identity_without_a_stanza_is_told_so_when_the_hash_is_right() -> None:
    store, pack = CountingStore(), build_pack(CountingRandom())
    reference = put_pack(store, pack)
    found = read(source_of(store, reference, who="stranger"), pack)
    assert found == [WrongIdentityError] * 3


@pytest.mark.parametrize("nth", [1, 2])
def test_an_unreachable_store_says_nothing_about_the_data(nth: int) -> None:
    inner, pack = CountingStore(), build_pack(CountingRandom())
    reference = put_pack(inner, pack)
    store = FaultyStore(inner, [fault(Operation.GET, Effect.FAIL_BEFORE, nth=nth, times=None)])
    with pytest.raises(StoreUnreachableError):
        read(source_of(store, reference), pack)
    store.verify_all_faults_fired()


# --- Forgery ---------------------------------------------------------------------------------

OWN = [[b"genuine value"]]
FORGED = [[b"forged value!"]]


def forged_pack() -> SamplePack:
    """The attacker's pack: public keys, run id and layout are the agent's, the secret is his own.

    He needs no key: recipients stand in the clear, and HPKE does not tell who sealed.
    """
    his = RunKey.create(
        VAULT_ID, run_key().sealed.run_id, fixed_bytes("attacker"), [identity().recipient]
    )
    return build_pack(CountingRandom("attacker"), blocks=FORGED, run=his, signer="intruder")


def test_a_forged_pack_behind_a_version_id_is_refused() -> None:
    store, pack, forged = CountingStore(), build_pack(CountingRandom(), blocks=OWN), forged_pack()
    assert block_references(pack) == block_references(forged)
    reference = put_pack(store, pack)
    store.attacker_exchange(str(reference.name), pack_bytes(forged))
    told: list[str] = []
    with pytest.raises(CorruptError, match="header"):
        source_of(store, reference, told=told).load_chunk(chunk_places(pack)[0])
    assert told


def test_a_replayed_pack_of_the_same_layout_is_refused() -> None:
    """An older pack of the same agent, sound in itself, in place of a newer one."""
    store, random = CountingStore(), CountingRandom()
    old, pack = (build_pack(random, blocks=[[text]]) for text in (b"old", b"new"))
    reference = put_pack(store, pack)
    store.attacker_exchange(str(reference.name), pack_bytes(old))
    with pytest.raises(CorruptError, match="header"):
        source_of(store, reference).load_chunk(chunk_places(pack)[0])


def test_a_forged_pack_with_the_genuine_header_does_not_open() -> None:
    store, pack, forged = CountingStore(), build_pack(CountingRandom(), blocks=OWN), forged_pack()
    reference = put_pack(store, pack)
    store.attacker_exchange(str(reference.name), b"".join((pack.body[0], *forged.body[1:])))
    assert read(source_of(store, reference), pack) == [CorruptError]


def test_a_forged_pack_does_not_spoil_the_packs_after_it() -> None:
    store, random = CountingStore(), CountingRandom()
    spoilt, sound = build_pack(random, blocks=OWN), build_pack(random)
    references = [put_pack(store, pack) for pack in (spoilt, sound)]
    store.attacker_exchange(str(references[0].name), pack_bytes(forged_pack()))
    blocks = source_of(store, *references)
    assert read(blocks, spoilt) == [CorruptError]
    assert read(blocks, sound) == PLAIN


# --- The table of packs ----------------------------------------------------------------------


def test_a_reference_map_gives_back_its_packs_and_nothing_else() -> None:
    packs = [
        Reference(
            ObjectName(kind=Kind.PACK, owner=bytes(16), digest=fixed_bytes(f"pack {number}")),
            f"v{number}",
            number,
            fixed_bytes(f"header {number}"),
        )
        for number in range(2500)
    ]
    other = Reference(
        ObjectName(kind=Kind.INDEX, owner=bytes(16), digest=fixed_bytes("index")), "v", 1
    )
    found = ReferenceMap([*packs, other])
    assert list(found.all()) == sorted(packs, key=lambda each: each.name.digest)
    assert found.find(packs[7].name.digest) == packs[7]
    assert found.find(other.name.digest) is None
    found.close()
