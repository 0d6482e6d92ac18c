"""A reader believes what proves itself up to the administrator, and reads around what does not."""

from dataclasses import replace

import pytest

from keys import (
    DEDUP_KEY,
    MOMENT_US,
    SOURCE_ID,
    VAULT_ID,
    agent_id,
    certificate,
    fixed_bytes,
    identity,
    signing_key,
)
from memory_vaults import (
    RETAIN_UNTIL,
    TRUST,
    CountingStore,
    Wrong,
    chunk_places,
    commit,
    entry_pages,
    pages_pack,
)
from safelight_vault.errors import (
    CorruptError,
    ObjectMissingError,
    UnsupportedFormatError,
    WrongIdentityError,
)
from safelight_vault.format.configuration import (
    VaultConfiguration,
    dedup_key_info,
    encode_configuration,
)
from safelight_vault.format.enrolment import Certificate, decode_certificate
from safelight_vault.format.envelope import Structure, encode_signed
from safelight_vault.format.manifest import Entry, EntryKind
from safelight_vault.format.names import Kind, ObjectName
from safelight_vault.format.pages import Pair
from safelight_vault.format.run_key import Stanza
from safelight_vault.objects import named, put_object
from safelight_vault.reader import (
    Damage,
    HeadName,
    OpenSnapshot,
    list_heads,
    load_certificate,
    load_configuration,
    load_head,
    open_snapshot,
)

OURS = {identity().recipient.fingerprint: identity()}


def directory(path: bytes) -> Entry:
    return Entry(path=path, kind=EntryKind.DIRECTORY, mode=0o755, uid=0, gid=0, mtime_ns=0)


ENTRIES = [directory(path) for path in (b"", b"a", b"a/x", b"b", b"b/x", b"c")]
PAGES = entry_pages(ENTRIES[:2], ENTRIES[2:4], ENTRIES[4:])


def opened(store: CountingStore, head: HeadName, told: list[str] | None = None) -> OpenSnapshot:
    on_tamper = None if told is None else told.append
    return open_snapshot(store, load_head(store, head, TRUST), TRUST, OURS, on_tamper=on_tamper)


# --- Heads -----------------------------------------------------------------------------------


def snapshot_name(source: bytes, sequence: int, label: str = "snapshot") -> ObjectName:
    return ObjectName(
        kind=Kind.SNAPSHOT,
        owner=agent_id(),
        source=source,
        sequence=sequence,
        digest=fixed_bytes(label),
    )


def test_heads_are_listed_by_chain_and_sequence_each_once() -> None:
    store = CountingStore()
    names = [
        snapshot_name(source, sequence)
        for source in (bytes(16), SOURCE_ID)
        for sequence in (1, 2, 10)
    ]
    for name in reversed(names):
        store.attacker_overwrite(str(name), b"first")
        store.attacker_overwrite(str(name), b"a second version")
    assert [head.name for head in list_heads(store)] == names
    assert store.reads == 0


def test_a_foreign_name_among_the_heads_is_told_and_passed_over() -> None:
    store = CountingStore()
    head = commit(store, PAGES)
    store.attacker_overwrite("snapshots/readme.txt", b"hello")
    told: list[str] = []
    assert list_heads(store, on_tamper=told.append) == [head]
    assert len(told) == 1
    assert "readme.txt" in told[0]


def test_a_head_under_a_delete_marker_is_still_listed() -> None:
    store = CountingStore()
    head = commit(store, PAGES)
    store.attacker_delete_marker(str(head.name))
    assert list_heads(store) == [head]
    assert load_head(store, head, TRUST).snapshot.sequence == 1


@pytest.mark.parametrize("field", ["source", "sequence"])
def test_a_snapshot_under_a_name_of_another_place_is_refused(field: str) -> None:
    """Its bytes and so its digest are right; who put it there wants it to pass for another one."""
    store = CountingStore()
    head = commit(store, PAGES)
    data = store.get(str(head.name))
    if field == "source":
        name = replace(head.name, source=bytes(16))
    else:
        name = replace(head.name, sequence=2)
    moved = replace(head, name=name, version_id=store.attacker_overwrite(str(name), data))
    with pytest.raises(CorruptError, match="belongs under another name"):
        load_head(store, moved, TRUST)


def test_a_snapshot_that_claims_a_newer_envelope_proves_nothing() -> None:
    """The envelope is frozen, so it is no snapshot of a newer program; it must stop nobody."""
    store = CountingStore()
    data = encode_signed(Structure.SNAPSHOT, VAULT_ID, b"", signing_key("usurper"), version=2)
    name = named(Kind.SNAPSHOT, data, owner=agent_id(), source=SOURCE_ID, sequence=9)
    placed = put_object(store, name, [data], RETAIN_UNTIL)
    with pytest.raises(CorruptError, match="newer than this program"):
        load_head(store, HeadName(name, placed.version_id, placed.size_bytes), TRUST)


def test_a_head_of_another_administrator_is_refused() -> None:
    store = CountingStore()
    head = commit(store, PAGES)
    other = replace(TRUST, administrator_fingerprint=fixed_bytes("usurper"))
    with pytest.raises(CorruptError, match="not signed by this vault's administrator"):
        load_head(store, head, other)


# --- Opened snapshots ------------------------------------------------------------------------


def test_an_opened_snapshot_gives_its_entries_in_order() -> None:
    store = CountingStore()
    snapshot = opened(store, commit(store, PAGES))
    assert list(snapshot.entries()) == ENTRIES
    assert list(snapshot.entries_or_damage()) == ENTRIES
    assert [reference.name.kind for reference in snapshot.references.all()] == [Kind.PACK]
    snapshot.close()


def test_an_entry_is_found_by_its_path_and_only_by_it() -> None:
    store = CountingStore()
    snapshot = opened(store, commit(store, PAGES))
    for entry in ENTRIES:
        assert snapshot.entry(entry.path) == entry
    for path in (b"a/", b"a/y", b"A", b"d"):
        assert snapshot.entry(path) is None
    snapshot.close()


def test_an_identity_of_another_vault_opens_no_snapshot() -> None:
    store = CountingStore()
    head = load_head(store, commit(store, PAGES), TRUST)
    stranger = identity("stranger")
    with pytest.raises(WrongIdentityError):
        open_snapshot(store, head, TRUST, {stranger.recipient.fingerprint: stranger})


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (Wrong(table_sequence=2), "the table of another snapshot"),
        (Wrong(objects_too_many=1), "promises 2 objects, not 1"),
    ],
    ids=["another snapshot's table", "too few objects"],
)
def test_a_table_that_says_something_else_is_refused(wrong: Wrong, match: str) -> None:
    store = CountingStore()
    head = commit(store, PAGES, wrong)
    with pytest.raises(CorruptError, match=match):
        opened(store, head)


def test_a_manifest_that_names_a_pack_outside_the_table_is_not_followed() -> None:
    store = CountingStore()
    snapshot = opened(store, commit(store, PAGES, Wrong(without_pack=True)))
    with pytest.raises(CorruptError, match="not in the snapshot's reference table"):
        list(snapshot.entries())
    snapshot.close()


# --- Damage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_damaged_page_is_told_in_its_place_and_the_others_are_read(at: int) -> None:
    store = CountingStore()
    head = commit(store, PAGES)
    pack = pages_pack(PAGES)
    (reference,) = (r for r in opened(store, head).references.all())
    store.damage(str(reference.name), position=chunk_places(pack)[at].block_offset)
    told: list[str] = []
    found = list(opened(store, head, told).entries_or_damage())
    paths = [each.path for each in found]
    expected = [entry.path for entry in ENTRIES]
    expected[2 * at : 2 * at + 2] = [ENTRIES[2 * at].path]
    assert paths == expected
    assert [isinstance(each, Damage) for each in found] == [number == 2 * at for number in range(5)]
    assert told


@pytest.mark.parametrize(
    "pair",
    [(b"a\x00w", b"rubbish"), (b"a\x00..", PAGES[0][0][1])],
    ids=["value", "path"],
)
def test_an_entry_that_cannot_be_is_told_in_its_place(pair: Pair) -> None:
    store = CountingStore()
    pages = [PAGES[0], sorted([*PAGES[1], pair]), PAGES[2]]
    pages[0] = [each for each in pages[0] if each[0] < pages[1][0][0]]
    snapshot = opened(store, commit(store, pages))
    found = list(snapshot.entries_or_damage())
    damage = [each for each in found if isinstance(each, Damage)]
    assert [each.path for each in damage] == [pair[0].replace(b"\x00", b"/")]
    assert [each for each in found if not isinstance(each, Damage)] == ENTRIES
    with pytest.raises(CorruptError):
        list(snapshot.entries())
    snapshot.close()


# --- The configuration -----------------------------------------------------------------------


def put_configuration(
    store: CountingStore,
    sequence: int,
    *,
    named_as: int | None = None,
    signer: str = "administrator",
) -> ObjectName:
    recipient = identity().recipient
    configuration = VaultConfiguration(
        sequence=sequence,
        created_us=MOMENT_US,
        administrator=signing_key(signer).verifying_key,
        epoch=1,
        splitter_version=1,
        recipients=(recipient,),
        dedup_key=(
            Stanza(recipient.fingerprint, recipient.seal(DEDUP_KEY, dedup_key_info(VAULT_ID))),
        ),
    )
    data = encode_configuration(VAULT_ID, configuration, signing_key(signer))
    name = named(Kind.CONFIG, data, sequence=named_as or sequence)
    return put_object(store, name, [data], RETAIN_UNTIL).name


def test_the_newest_configuration_is_in_force() -> None:
    store = CountingStore()
    names = {sequence: put_configuration(store, sequence) for sequence in (2, 10, 9)}
    configuration, reference = load_configuration(store, TRUST)
    assert configuration.sequence == 10
    assert reference.name == names[10]
    assert configuration.open_dedup_key(identity(), VAULT_ID) == DEDUP_KEY


def test_a_newer_configuration_by_somebody_else_is_told_and_passed_over() -> None:
    store = CountingStore()
    put_configuration(store, 1)
    put_configuration(store, 2, signer="usurper")
    put_configuration(store, 1, named_as=3)
    store.attacker_overwrite("config/readme.txt", b"hello")
    told: list[str] = []
    configuration, _ = load_configuration(store, TRUST, on_tamper=told.append)
    assert configuration.sequence == 1
    assert len(told) == 3


def newer_configuration(store: CountingStore) -> None:
    """What anybody who can put objects can put: it claims a format of the future."""
    data = encode_signed(Structure.CONFIG, VAULT_ID, b"", signing_key("usurper"), version=2)
    put_object(store, named(Kind.CONFIG, data, sequence=9), [data], RETAIN_UNTIL)


def test_a_configuration_that_claims_a_newer_format_stops_nobody() -> None:
    store = CountingStore()
    newer_configuration(store)
    with pytest.raises(UnsupportedFormatError):
        load_configuration(store, TRUST)
    put_configuration(store, 1)
    told: list[str] = []
    assert load_configuration(store, TRUST, on_tamper=told.append)[0].sequence == 1
    assert len(told) == 1


def test_a_certificate_that_claims_a_newer_format_stops_nobody() -> None:
    store = CountingStore()
    newer = encode_signed(Structure.ENROLMENT, VAULT_ID, b"", signing_key("usurper"), version=2)
    for data in (newer, certificate()):
        name = named(Kind.AGENT, data, owner=agent_id())
        put_object(store, name, [data], RETAIN_UNTIL)

    def decode(data: bytes) -> Certificate:
        return decode_certificate(
            data,
            vault_id=VAULT_ID,
            administrator_fingerprint=TRUST.administrator_fingerprint,
        )

    told: list[str] = []
    found = load_certificate(store, agent_id(), decode, on_tamper=told.append)
    assert found is not None
    assert found[0] == certificate()
    assert len(told) == 1


def test_a_damaged_configuration_gives_way_to_the_one_before_it() -> None:
    store = CountingStore()
    put_configuration(store, 1)
    store.damage(str(put_configuration(store, 2)), position=100)
    assert load_configuration(store, TRUST)[0].sequence == 1


def test_configurations_of_which_none_is_sound_are_damage_not_absence() -> None:
    store = CountingStore()
    store.damage(str(put_configuration(store, 1)), position=100)
    with pytest.raises(CorruptError, match="no version holds") as caught:
        load_configuration(store, TRUST)
    assert not isinstance(caught.value, ObjectMissingError)


def test_a_vault_without_configuration_says_how_it_gets_one() -> None:
    with pytest.raises(ObjectMissingError, match="no configuration yet") as caught:
        load_configuration(CountingStore(), TRUST)
    assert "enrol" in caught.value.next_step
