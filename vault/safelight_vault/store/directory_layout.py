"""Where a directory store keeps what: names to paths, lock records to bytes, both ways and pure.

    @store                              what this directory is, and the number of this layout
    @incoming/<version id>/             objects that are being written; not part of the store
    @incoming.lease                     held shared by writers, exclusively to clear @incoming
    config/0000000001-<sha256>@/        one directory for each object, and in it
        <version id>                        the bytes of a version, as they are
        <version id>.until-<date>           its lock: a lock record, one for each date it was given
    packs/<agent>/@3f/3f<...>@/         a name that is a SHA-256 is filed by its first two digits

The invariant: whatever belongs to the layout carries an ``@`` or lies inside a directory that does,
and no name can contain one; so names and layout never meet.
"""

import hashlib
import re
from datetime import UTC, datetime

from safelight_vault.store.names import is_valid_name

MARKER = "@store"
INCOMING = "@incoming"
INCOMING_LEASE = "@incoming.lease"

MARKER_TEXT = """\
safelight directory store, layout 1

Every directory whose name ends in @ is one object of a Safelight vault; the files in it are its
versions and their locks. Change, rename or remove none of them: the vault would be damaged.
Any object can be checked with sha256sum: its name contains the digest of its bytes.
"""

LOCK_RECORD_SIZE_MAX = 128

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHARD = re.compile(r"@([0-9a-f]{2})")
_VERSION_ID = re.compile(r"[a-z0-9-]{1,64}")
_LOCK_FILE = re.compile(r"([a-z0-9-]{1,64})\.until-([0-9]{8}T[0-9]{6}Z)")
_DATE_FORMAT = "%Y%m%dT%H%M%SZ"


def object_path(name: str) -> tuple[str, ...]:
    """The parts of the path of a (valid) name's directory, below the store's root.

    >>> object_path("config/1-a")
    ('config', '1-a@')
    """
    *parents, last = name.split("/")
    shard = (f"@{last[:2]}",) if _DIGEST.fullmatch(last) else ()
    return (*parents, *shard, f"{last}@")


def object_segment(directory: str, *, shard: str | None) -> str | None:
    """The last part of the name that an object's directory stands for; None if it is none.

    ``shard`` are the two digits under which it was found; a directory filed under the wrong ones
    could not be found by its name, so it is no object.
    """
    segment = directory[:-1]
    if not directory.endswith("@") or not is_valid_name(segment) or "/" in segment:
        return None
    expected = segment[:2] if _DIGEST.fullmatch(segment) else None
    return segment if expected == shard else None


def shard_digits(directory: str) -> str | None:
    """The two digits of a directory that files by digest; None if it is another one."""
    match = _SHARD.fullmatch(directory)
    return None if match is None else match[1]


def is_version_id(text: str) -> bool:
    """Whether ``text`` can be a version's id, and so its file's name."""
    return _VERSION_ID.fullmatch(text) is not None


def lock_file(version_id: str, date: datetime) -> str:
    """The file name of a version's lock until ``date`` (UTC, whole seconds)."""
    return f"{version_id}.until-{date.strftime(_DATE_FORMAT)}"


def parse_lock_file(file: str) -> tuple[str, datetime] | None:
    """Version id and date of a lock's file name; None if it is another file."""
    match = _LOCK_FILE.fullmatch(file)
    if match is None:
        return None
    try:
        # The format ends in a literal Z: the date is in UTC by construction.
        return match[1], datetime.strptime(match[2], _DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def encode_lock_record(name: str, version_id: str, date: datetime) -> bytes:
    """The content of a lock's file: it repeats the date, bound to name and version by a digest."""
    until = date.strftime(_DATE_FORMAT)
    bound = hashlib.sha256(f"{name}\n{version_id}\n{until}".encode("ascii")).hexdigest()
    return f"retain-until {until} {bound}\n".encode("ascii")


def decode_lock_record(data: bytes, *, name: str, version_id: str) -> datetime | None:
    """The date of a lock record; None when it is damaged or was made for another version.

    A damaged record must read as "not locked": then the lock is extended or the object stored
    again, which is safe, while a date that nobody wrote could never be trusted.
    """
    parts = data.split(b" ")
    if len(data) > LOCK_RECORD_SIZE_MAX or len(parts) != 3 or not parts[1].isascii():
        return None
    try:
        date = datetime.strptime(parts[1].decode("ascii"), _DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None
    return date if encode_lock_record(name, version_id, date) == data else None
