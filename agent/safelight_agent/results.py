"""What a run of a source came to, and the files in which the last results are kept.

The invariant: the record of the last complete snapshot is replaced only by that of a newer complete
snapshot, and a record that cannot be read is reported as such, so that it never looks like success.
Failed paths stay in these files (0600) and never reach a log or a metric.
"""

import base64
import binascii
import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

from safelight_agent.state_files import (
    make_private_directory,
    source_file_name,
    write_atomically,
)

RECORD_SIZE_BYTES_MAX = 16 * 1024 * 1024
"""A record larger than this was not written by us, and is not read."""

FAILED_KEPT_BYTES_MAX = 1024 * 1024
"""Room for the list of failed files in a record; ``files_failed`` counts those beyond it too."""

_FAILED_ITEM_OVERHEAD_BYTES = 64

_NUMBER_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedFile:
    """A file that is not in the snapshot: its path below the source's root, and why."""

    path: bytes
    reason: str

    def to_json(self) -> dict[str, object]:
        """JSON cannot hold every name: ``path`` is for people, ``path_base64`` for programs."""
        return {
            "path": self.path.decode("utf-8", "replace"),
            "path_base64": base64.b64encode(self.path).decode("ascii"),
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, value: object) -> "FailedFile":
        """The inverse of ``to_json``; ``ValueError`` for anything that it cannot have written."""
        record = _Fields(value, ("path", "path_base64", "reason"))
        encoded = record.text("path_base64")
        try:
            path = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise ValueError("path_base64 is not base64") from error
        failed = cls(path=path, reason=record.text("reason"))
        if failed.to_json() != value:
            raise ValueError("path and path_base64 disagree")
        return failed


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One run of one source, successful or not.

    ``snapshot`` is the id of the snapshot that was published, or empty. ``complete`` says that it
    holds every file of the source; ``suspect`` that it looks like an attack. ``error`` says what
    ended the run, free of patient data. ``lock_coverage_until`` is None where nothing is locked by
    a store (or it is not known yet).
    """

    snapshot: str
    source: str
    files: int
    files_new: int
    files_changed: int
    files_unchanged: int
    files_failed: int
    bytes_read: int
    bytes_stored: int
    chunks_new: int
    complete: bool
    suspect: bool
    duration_seconds: float
    started: datetime
    exit_code: int
    error: str
    lock_coverage_until: datetime | None
    failed: tuple[FailedFile, ...]

    def __post_init__(self) -> None:
        if self.complete and (not self.snapshot or self.files_failed):
            raise ValueError("a complete run has a snapshot and no failed files")

    def to_json(self) -> dict[str, object]:
        """Values that ``json`` can write; times as ISO 8601 in UTC."""
        until = self.lock_coverage_until
        return {
            "snapshot": self.snapshot,
            "source": self.source,
            "files": self.files,
            "files_new": self.files_new,
            "files_changed": self.files_changed,
            "files_unchanged": self.files_unchanged,
            "files_failed": self.files_failed,
            "bytes_read": self.bytes_read,
            "bytes_stored": self.bytes_stored,
            "chunks_new": self.chunks_new,
            "complete": self.complete,
            "suspect": self.suspect,
            "duration_seconds": self.duration_seconds,
            "started": self.started.astimezone(UTC).isoformat(),
            "exit_code": self.exit_code,
            "error": self.error,
            "lock_coverage_until": None if until is None else until.astimezone(UTC).isoformat(),
            "failed": [item.to_json() for item in self.failed],
        }

    @classmethod
    def from_json(cls, value: object) -> "RunResult":
        """The inverse of ``to_json``; ``ValueError`` names the first field that is wrong."""
        record = _Fields(value, [field.name for field in fields(cls)])
        return cls(
            snapshot=record.text("snapshot"),
            source=record.text("source"),
            files=record.count("files"),
            files_new=record.count("files_new"),
            files_changed=record.count("files_changed"),
            files_unchanged=record.count("files_unchanged"),
            files_failed=record.count("files_failed"),
            bytes_read=record.count("bytes_read"),
            bytes_stored=record.count("bytes_stored"),
            chunks_new=record.count("chunks_new"),
            complete=record.flag("complete"),
            suspect=record.flag("suspect"),
            duration_seconds=record.seconds("duration_seconds"),
            started=record.time("started"),
            exit_code=record.count("exit_code"),
            error=record.text("error"),
            lock_coverage_until=record.optional_time("lock_coverage_until"),
            failed=tuple(FailedFile.from_json(item) for item in record.items("failed")),
        )


def failed_run(
    source: str, *, started: datetime, duration_seconds: float, exit_code: int, error: str
) -> RunResult:
    """The result of a run that ended before it could count anything."""
    return RunResult(
        snapshot="",
        source=source,
        files=0,
        files_new=0,
        files_changed=0,
        files_unchanged=0,
        files_failed=0,
        bytes_read=0,
        bytes_stored=0,
        chunks_new=0,
        complete=False,
        suspect=False,
        duration_seconds=duration_seconds,
        started=started,
        exit_code=exit_code,
        error=error,
        lock_coverage_until=None,
        failed=(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableRecord:
    """A record that is there but cannot be trusted; it counts as "not known", never as success."""

    path: Path
    reason: str


class ResultStore:
    """The last run, the last complete snapshot and the missed runs of every source, on disk."""

    def __init__(self, directory: Path) -> None:
        make_private_directory(directory)
        self._directory = directory
        self._missed_mutex = threading.Lock()

    def record(self, result: RunResult) -> None:
        """Keep the result of a run that has ended; ``ConfigurationError`` if it cannot be written.

        Only a complete snapshot touches the record of the last complete one.
        """
        content = _encode(result)
        if result.complete:
            write_atomically(self._path(result.source, "last-complete"), content)
        write_atomically(self._path(result.source, "last-run"), content)

    def last_run(self, source: str) -> RunResult | UnreadableRecord | None:
        """What the last run came to; None before the first."""
        return self._read(source, "last-run")

    def last_complete(self, source: str) -> RunResult | UnreadableRecord | None:
        """The last run that published a complete snapshot; None before the first."""
        found = self._read(source, "last-complete")
        if isinstance(found, RunResult) and not found.complete:
            path = self._path(source, "last-complete")
            return UnreadableRecord(path=path, reason="it records an incomplete run")
        return found

    def record_missed(self, source: str) -> None:
        """Count a scheduled time at which no run began; an unreadable count begins again."""
        with self._missed_mutex:
            before = self.missed(source)
            count = before if isinstance(before, int) else 0
            content = json.dumps({"missed": count + 1}).encode("ascii")
            write_atomically(self._path(source, "missed"), content)

    def missed(self, source: str) -> int | UnreadableRecord:
        """How many scheduled times passed without a run."""
        path = self._path(source, "missed")
        try:
            value = _load(path)
            return 0 if value is None else _Fields(value, ("missed",)).count("missed")
        except ValueError as error:
            return UnreadableRecord(path=path, reason=str(error))

    def _read(self, source: str, kind: str) -> RunResult | UnreadableRecord | None:
        path = self._path(source, kind)
        try:
            value = _load(path)
            if value is None:
                return None
            result = RunResult.from_json(value)
        except ValueError as error:
            return UnreadableRecord(path=path, reason=str(error))
        if result.source != source:
            return UnreadableRecord(path=path, reason="it records another source")
        return result

    def _path(self, source: str, kind: str) -> Path:
        return self._directory / f"{source_file_name(source, kind)}.json"


def _encode(result: RunResult) -> bytes:
    record = result.to_json()
    record["failed"] = [item.to_json() for item in _that_fit(result.failed)]
    return json.dumps(record, indent=1).encode("ascii")


def _that_fit(failed: Sequence[FailedFile]) -> Iterable[FailedFile]:
    room = FAILED_KEPT_BYTES_MAX
    for item in failed:
        room -= len(item.path) + len(item.reason) + _FAILED_ITEM_OVERHEAD_BYTES
        if room < 0:
            return
        yield item


def _load(path: Path) -> object:
    """The JSON value in a file, None where there is no file, else ``ValueError``."""
    try:
        with path.open("rb") as file:
            content = file.read(RECORD_SIZE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error
    if len(content) > RECORD_SIZE_BYTES_MAX:
        raise ValueError("it is too large")
    try:
        value: object = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON") from error
    if value is None:
        raise ValueError("it is empty")
    return value


class _Fields:
    """Reads a JSON object with exactly the expected keys; every misfit is a ``ValueError``."""

    def __init__(self, value: object, keys: Iterable[str]) -> None:
        expected = set(keys)
        if not isinstance(value, dict) or set(value) != expected:
            raise ValueError(f"it is not an object with the keys {sorted(expected)}")
        self._values: dict[str, object] = value

    def text(self, key: str) -> str:
        value = self._values[key]
        if not isinstance(value, str):
            raise ValueError(f"{key} is not a text")
        return value

    def count(self, key: str) -> int:
        value = self._values[key]
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _NUMBER_MAX:
            raise ValueError(f"{key} is not a count")
        return value

    def flag(self, key: str) -> bool:
        value = self._values[key]
        if not isinstance(value, bool):
            raise ValueError(f"{key} is neither true nor false")
        return value

    def seconds(self, key: str) -> float:
        value = self._values[key]
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"{key} is not a number")
        if not 0 <= value <= _NUMBER_MAX:  # neither does NaN pass
            raise ValueError(f"{key} is not a duration")
        return float(value)

    def time(self, key: str) -> datetime:
        try:
            value = datetime.fromisoformat(self.text(key))
        except ValueError as error:
            raise ValueError(f"{key} is not a time") from error
        if value.utcoffset() != timedelta(0):
            raise ValueError(f"{key} is not in UTC")
        return value.astimezone(UTC)

    def optional_time(self, key: str) -> datetime | None:
        return None if self._values[key] is None else self.time(key)

    def items(self, key: str) -> list[object]:
        value = self._values[key]
        if not isinstance(value, list):
            raise ValueError(f"{key} is not a list")
        return value
