"""What tests of a faulty store share: a site with something to do, and what its vault has lost."""

from agent_runs import Site, fill_archive
from invariants import require_restorable
from safelight_restore.audit import Severity, audit
from safelight_vault.format.names import Kind

WRITTEN_KINDS = (Kind.PACK, Kind.INDEX, Kind.REFERENCES, Kind.TABLE, Kind.SNAPSHOT)
"""What a run writes."""


def with_a_change(site: Site) -> Site:
    """The site after a first run, its archive changed since."""
    assert site.run().complete
    fill_archive(site.archive, slices=3, seed=1)
    return site


def kind_name(kind: Kind) -> str:
    """The id of a test of one kind of object."""
    return kind.value


def remove(site: Site, kind: Kind) -> None:
    """Take the objects of a kind out of a store in memory, as only its owner can."""
    for name in site.vault.names(kind):
        del site.memory._objects[name]


def corrupt_objects(site: Site) -> list[str]:
    """The objects that an audit of everything calls corrupt."""
    report = audit(
        site.access(),
        now=site.store.now(),
        read_everything=True,
        on_progress=lambda done, total: None,
    )
    return [found.object_name for found in report.findings if found.severity is Severity.CORRUPT]


def require_newest_restorable(site: Site) -> None:
    """The newest snapshot comes back, whatever became of the older ones."""
    access = site.access()
    newest = max(access.heads().good, key=lambda head: head.snapshot.sequence)
    require_restorable(site, access, newest)
