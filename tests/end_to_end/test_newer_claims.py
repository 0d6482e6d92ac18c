"""What claims a newer format and nobody signed is told, and stops no backup and no restore."""

from datetime import timedelta
from pathlib import Path

from keys import signing_key
from safelight_vault.format.envelope import Structure, encode_signed
from safelight_vault.format.names import Kind, parse_name
from safelight_vault.objects import named, put_object
from vaults import VaultFixture


def test_objects_of_the_future_stop_nobody(tmp_path: Path) -> None:
    """Whoever stole the right to put objects could otherwise end all backups for years."""
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "first").write_bytes(b"x" * 5000)
    vault = VaultFixture.create(tmp_path)
    vault.back_up("pacs", archive)
    snapshot = parse_name(vault.names(Kind.SNAPSHOT)[0])

    def forge(
        kind: Kind,
        structure: Structure,
        *,
        owner: bytes | None = snapshot.owner,
        source: bytes | None = None,
        sequence: int | None = None,
    ) -> None:
        vault_id = vault.public_access().trust.vault_id
        data = encode_signed(structure, vault_id, b"", signing_key("usurper"), version=2)
        name = named(kind, data, owner=owner, source=source, sequence=sequence)
        put_object(vault.store, name, [data], vault.clock.now() + timedelta(days=1))

    forge(Kind.CONFIG, Structure.CONFIG, owner=None, sequence=9)
    forge(Kind.AGENT, Structure.ENROLMENT)
    forge(Kind.PACK, Structure.PACK)
    forge(Kind.INDEX, Structure.INDEX)
    forge(Kind.SNAPSHOT, Structure.SNAPSHOT, source=snapshot.source, sequence=9)

    (archive / "second").write_bytes(b"y" * 5000)
    assert vault.back_up("pacs", archive).complete
    heads = vault.access().heads()
    assert [head.snapshot.sequence for head in heads.good] == [1, 2]
    assert [damaged.name.name.sequence for damaged in heads.damaged] == [9]
    assert len(list(vault.access().open(heads.good[-1]).entries())) == 3
