"""A grant helps a later recipient to open older packs, and a false one changes nothing."""

from dataclasses import replace

import pytest

from keys import OTHER_VAULT_ID, VAULT_ID, CountingRandom, fixed_bytes, identity, run_key
from memory_vaults import RETAIN_UNTIL, CountingStore
from pack_samples import SamplePack, build_pack
from safelight_vault.blocks import RunKeyRing
from safelight_vault.errors import CorruptError, VaultError, WrongIdentityError
from safelight_vault.format.envelope import Structure, encode_plain
from safelight_vault.format.grant import encode_grant
from safelight_vault.format.names import ID_SIZE, Kind
from safelight_vault.format.pack import BlockOpener, decode_pack_header
from safelight_vault.format.run_key import RunKey
from safelight_vault.objects import named, put_object

RUN_ID = run_key().sealed.run_id
LATER = identity("later").recipient


@pytest.fixture(scope="module")
def pack() -> SamplePack:
    return build_pack(CountingRandom())


def grant(
    store: CountingStore, secret: str, *, run_id: bytes = RUN_ID, under: bytes = RUN_ID
) -> str:
    """Put a grant of a run key with this secret to the later recipient."""
    sealed = RunKey.create(VAULT_ID, run_id, fixed_bytes(secret), [LATER]).sealed
    data = encode_grant(VAULT_ID, sealed)
    name = named(Kind.KEY_GRANT, data, owner=under)
    return str(put_object(store, name, [data], RETAIN_UNTIL).name)


GENUINE, FALSE = "run secret run", "false secret"


def ring(store: CountingStore, who: str = "later") -> RunKeyRing:
    return RunKeyRing(store, VAULT_ID, {identity(who).recipient.fingerprint: identity(who)})


def open_pack(keys: RunKeyRing, pack: SamplePack) -> BlockOpener:
    header = decode_pack_header(pack.body[0])
    return keys.use(header.run_key, lambda key: BlockOpener.create(header, key))


def test_a_grant_opens_what_was_sealed_before_its_recipient_came(pack: SamplePack) -> None:
    store = CountingStore()
    with pytest.raises(WrongIdentityError, match="none of them is at hand"):
        open_pack(ring(store), pack)
    grant(store, GENUINE)
    assert open_pack(ring(store), pack).open(1, pack.body[2])


def test_a_key_that_was_confirmed_is_not_sought_again(pack: SamplePack) -> None:
    store = CountingStore()
    grant(store, GENUINE)
    keys = ring(store)
    open_pack(keys, pack)
    reads = store.reads
    open_pack(keys, build_pack(CountingRandom("other pack")))
    assert store.reads == reads


def attempts(keys: RunKeyRing, pack: SamplePack) -> int:
    """How many keys are tried on a pack until one opens it."""
    header = decode_pack_header(pack.body[0])
    tried: list[RunKey] = []

    def attempt(key: RunKey) -> BlockOpener:
        tried.append(key)
        return BlockOpener.create(header, key)

    assert keys.use(header.run_key, attempt).open(1, pack.body[2])
    return len(tried)


def test_a_forged_grant_is_damage_and_is_not_kept(pack: SamplePack) -> None:
    store = CountingStore()
    grant(store, FALSE)
    keys = ring(store)
    with pytest.raises(CorruptError, match="commitment"):
        open_pack(keys, pack)
    ours = build_pack(CountingRandom("ours"), run=run_key(recipients=("later",)))
    assert attempts(keys, ours) == 1
    assert attempts(keys, pack) == 1


def test_forged_grants_do_not_stand_before_a_genuine_one(pack: SamplePack) -> None:
    store = CountingStore()
    for number in range(5):
        grant(store, f"{FALSE} {number}")
    grant(store, GENUINE)
    assert open_pack(ring(store), pack).open(1, pack.body[2])


def test_a_grant_of_another_run_is_not_used(pack: SamplePack) -> None:
    store = CountingStore()
    grant(store, GENUINE, run_id=fixed_bytes("other run", ID_SIZE))
    with pytest.raises(CorruptError, match="the grant of another run"):
        open_pack(ring(store), pack)


@pytest.mark.parametrize("position", [0, 9, 12, 40, 60, -1])
def test_a_damaged_grant_is_passed_over(pack: SamplePack, position: int) -> None:
    store = CountingStore()
    damaged = grant(store, FALSE)
    store.damage(damaged, position=position)
    grant(store, GENUINE)
    assert open_pack(ring(store), pack).open(1, pack.body[2])


def test_a_foreign_name_among_the_grants_is_passed_over(pack: SamplePack) -> None:
    store = CountingStore()
    store.attacker_overwrite(f"keys/{RUN_ID.hex()}/a-stranger", b"rubbish")
    grant(store, GENUINE)
    assert open_pack(ring(store), pack).open(1, pack.body[2])


def test_the_first_recipients_need_no_grant(pack: SamplePack) -> None:
    store = CountingStore()
    grant(store, FALSE)
    assert open_pack(ring(store, "first"), pack).open(1, pack.body[2])
    assert store.reads == 0


def test_a_false_stanza_in_one_pack_does_not_spoil_the_key_that_was_kept(
    pack: SamplePack,
) -> None:
    """Whoever exchanges one pack could otherwise make all others of its run unreadable."""
    keys = ring(CountingStore(), "first")
    his = RunKey.create(VAULT_ID, RUN_ID, fixed_bytes("attacker"), [identity().recipient])
    forged = decode_pack_header(build_pack(CountingRandom("his"), run=his).body[0])
    header = decode_pack_header(pack.body[0])
    mixed = replace(forged, commitment=header.commitment)
    with pytest.raises(CorruptError, match="commitment"):
        keys.use(mixed.run_key, lambda key: BlockOpener.create(mixed, key))
    assert attempts(keys, pack) == 1
    with pytest.raises(CorruptError, match="commitment"):
        keys.use(mixed.run_key, lambda key: BlockOpener.create(mixed, key))
    assert open_pack(keys, pack).open(1, pack.body[2])


def test_no_identity_at_all_is_a_wrong_identity(pack: SamplePack) -> None:
    with pytest.raises(WrongIdentityError):
        open_pack(RunKeyRing(CountingStore(), VAULT_ID, {}), pack)


def test_a_grant_for_another_vault_is_damage(pack: SamplePack) -> None:
    store = CountingStore()
    data = encode_grant(OTHER_VAULT_ID, run_key(recipients=("later",)).sealed)
    put_object(store, named(Kind.KEY_GRANT, data, owner=RUN_ID), [data], RETAIN_UNTIL)
    with pytest.raises(VaultError, match="another vault"):
        open_pack(ring(store), pack)


def test_a_grant_that_claims_a_newer_format_stops_nobody(pack: SamplePack) -> None:
    """Nothing signed names a grant, so anybody who can put objects can put such a one."""
    store = CountingStore()
    data = encode_plain(Structure.KEY_GRANT, VAULT_ID, b"", version=2)
    put_object(store, named(Kind.KEY_GRANT, data, owner=RUN_ID), [data], RETAIN_UNTIL)
    with pytest.raises(WrongIdentityError, match="none of them is at hand"):
        open_pack(ring(store), pack)
    grant(store, GENUINE)
    assert open_pack(ring(store), pack).open(1, pack.body[2])
