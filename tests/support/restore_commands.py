"""``safelight-restore`` as it is typed, in this process, and vaults for it to work on.

The commands go by the real clock, so these vaults do too. The invariant: a command is run through
the entry point of the console script, and its stdout and stderr are told apart.
"""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicom_samples import ct_slice
from safelight_restore.cli import main
from vaults import Clock, VaultFixture

STUDY_UID = "1.2.826.0.1.999.10"
"""The first of the two studies in ``archive_at``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout, which must be one line and nothing else."""
        (line,) = self.out.splitlines()
        value = json.loads(line)
        if not isinstance(value, dict):
            raise TypeError(f"not an object: {line}")
        return value


def run(*arguments: str | Path) -> Ran:
    """Type a command."""
    out, err = io.StringIO(), io.StringIO()
    code: object = None
    with _argv("safelight-restore", *map(str, arguments)):
        try:
            with redirect_stdout(out), redirect_stderr(err):
                main()
        except SystemExit as ended:
            code = ended.code
    if not isinstance(code, int):
        raise TypeError(f"ended with {code!r}")
    return Ran(code=code, out=out.getvalue(), err=err.getvalue())


@contextmanager
def _argv(*arguments: str) -> Iterator[None]:
    before = sys.argv
    sys.argv = list(arguments)
    try:
        yield
    finally:
        sys.argv = before


def archive_at(directory: Path) -> Path:
    """Two studies of two patients, and a file that is no DICOM."""
    for number in (1, 2):
        folder = directory / "ct" / f"study-{number}"
        folder.mkdir(parents=True)
        for slice_number in (1, 2):
            data = ct_slice(
                patient_id=f"PID-000{number}",
                patient_name=f"Doe^Number{number}",
                study_uid=f"1.2.826.0.1.999.{number}0",
                series_uid=f"1.2.826.0.1.999.{number}0.1",
                instance_uid=f"1.2.826.0.1.999.{number}0.1.{slice_number}",
                number=slice_number,
                seed=10 * number + slice_number,
            )
            (folder / f"{slice_number}.dcm").write_bytes(data)
    (directory / "notes.txt").write_bytes(b"kept beside the images\n")
    return directory


def new_vault(directory: Path) -> VaultFixture:
    """A vault with one backup, made now: the commands go by the real clock."""
    vault = VaultFixture.create(directory, clock=Clock(datetime.now(UTC)))
    vault.back_up("pacs", archive_at(directory / "archive"))
    return vault


def opened(vault: VaultFixture) -> tuple[str | Path, ...]:
    """The options that open a vault."""
    return "--vault", vault.url, "--identity", vault.keys.identity


def files_below(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def largest_pack(vault: VaultFixture) -> str:
    """The pack that holds the pixels."""
    sizes = {version.name: version.size_bytes for version in vault.store.list_versions("packs/")}
    return max(sizes, key=lambda name: sizes[name])
