"""The whole vault against a model of it: a dictionary of trees, whatever is done in whatever order.

Files come, change and go; runs are made; local state is lost or replaced by an old copy; time
passes. At any moment every snapshot restores to exactly the tree that it was made of.
"""

import shutil
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from safelight_agent.assembly import STATE_FILE
from safelight_restore.access import choose
from safelight_vault.format.manifest import EntryKind, Hole
from vaults import VaultFixture

NAMES = st.sampled_from(["a", "b", "c/d", "c/e", "z z"])
CONTENTS = st.one_of(
    st.binary(max_size=200),
    st.integers(1, 3).map(lambda seed: bytes([seed]) * 300_000),
    st.just(bytes(range(256)) * 2000),
)


class VaultModel(RuleBasedStateMachine):
    """The machine; ``self.snapshots`` is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = ExitStack()
        directory = self.closing.enter_context(tempfile.TemporaryDirectory())
        self.root = Path(directory)
        self.tree = self.root / "tree"
        self.tree.mkdir()
        self.vault = VaultFixture.create(self.root / "v")
        self.files: dict[str, bytes] = {}
        self.snapshots: dict[str, dict[str, bytes]] = {}
        self.saved_state: Path | None = None

    def teardown(self) -> None:
        self.closing.close()

    @property
    def state_file(self) -> Path:
        return self.root / "v" / "state-agent" / STATE_FILE

    @rule(name=NAMES, content=CONTENTS)
    def write(self, name: str, content: bytes) -> None:
        path = self.tree / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        self.files[name] = content

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        (self.tree / name).unlink()
        del self.files[name]

    @rule()
    def back_up(self) -> None:
        self.vault.clock.advance(timedelta(hours=1))
        result = self.vault.back_up("source", self.tree)
        assert result.complete
        assert result.files == len(self.files)
        self.snapshots[result.snapshot] = dict(self.files)

    @precondition(lambda self: self.state_file.exists())
    @rule()
    def lose_state(self) -> None:
        for path in self.state_file.parent.glob(STATE_FILE + "*"):
            path.unlink()

    @precondition(lambda self: self.state_file.exists())
    @rule()
    def save_state(self) -> None:
        self.saved_state = self.root / "saved.sqlite"
        shutil.copy(self.state_file, self.saved_state)

    @precondition(lambda self: self.saved_state is not None)
    @rule()
    def bring_back_old_state(self) -> None:
        assert self.saved_state is not None
        for path in self.state_file.parent.glob(STATE_FILE + "*"):
            path.unlink()
        shutil.copy(self.saved_state, self.state_file)

    @invariant()
    def every_snapshot_is_what_it_was_made_of(self) -> None:
        if not self.snapshots:
            return
        access = self.vault.access()
        heads = access.heads()
        assert not heads.damaged
        assert len(heads.good) == len(self.snapshots)
        for head in heads.good:
            snapshot = access.open(head)
            found: dict[str, bytes] = {}
            for entry in snapshot.entries():
                if entry.kind is EntryKind.FILE:
                    pieces = [
                        bytes(extent.length)
                        if isinstance(extent, Hole)
                        else snapshot.blocks.load_chunk(extent)
                        for extent in entry.extents
                    ]
                    found[entry.path.decode()] = b"".join(pieces)
            snapshot.close()
            assert found == self.snapshots[head.snapshot_id]
        newest = choose(heads, "latest").heads[0].snapshot
        assert newest.sequence == len(self.snapshots)
        assert access.tampering == []


TestVaultModel = VaultModel.TestCase
TestVaultModel.settings = settings(
    max_examples=8,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
