"""Objects in a store: put once and read back, read by hash first and VersionId second.

The one place that joins names and bytes to a store. What it guards: nothing counts as stored before
its lock was read back; nothing is believed before its SHA-256 matches its name; any version whose
bytes match the name *is* the object, and others are reported, never followed (design 4.5, 4.6).
"""

import hashlib
from collections.abc import Callable
from datetime import datetime

from safelight_vault.errors import (
    CorruptError,
    LockRefusedError,
    NameTakenError,
    ObjectMissingError,
    StoreUnreachableError,
)
from safelight_vault.format.names import Kind, ObjectName
from safelight_vault.format.pack import PACK_SIZE_MAX
from safelight_vault.format.references import Reference
from safelight_vault.store import Buffers, Head, LockMode, Store, Version

OnTamper = Callable[[str], None]
"""Told in words of a version that is not what its name says."""

_MIB = 1 << 20
OBJECT_SIZE_MAX = {
    Kind.CONFIG: 1 * _MIB,
    Kind.AGENT: 1 * _MIB,
    Kind.KEY_GRANT: 1 * _MIB,
    Kind.PACK: PACK_SIZE_MAX,
    Kind.INDEX: 512 * _MIB,
    Kind.REFERENCES: 16 * _MIB,
    Kind.TABLE: 128 * _MIB,
    Kind.SNAPSHOT: 512 * _MIB,
    Kind.AUDIT: 16 * _MIB,
}
"""Longest object of each kind; a longer version is not read, whoever put it there."""

READS_MAX = 2
"""How often a version is read before its bytes are called wrong: a line or a cache may err once."""
HEADS_MAX = 3
"""How often a store is asked for what it has just taken, before that counts as a failure."""

_STRENGTH = {
    LockMode.NONE: 0,
    LockMode.EMULATED: 1,
    LockMode.GOVERNANCE: 2,
    LockMode.COMPLIANCE: 3,
}


def put_object(
    store: Store,
    name: ObjectName,
    body: Buffers,
    retain_until: datetime,
    *,
    size_bytes: int | None = None,
) -> Reference:
    """Put an object under lock, or adopt a version that holds its bytes already.

    ``size_bytes`` is the length of the body, for a body whose pieces are costly to fetch.

    Raises ``LockRefusedError`` when the lock read back is weaker or shorter than asked, and
    ``StoreUnreachableError`` when the store does not know what it has just taken.
    """
    if size_bytes is None:
        size_bytes = sum(len(part) for part in body)
    try:
        version_id = store.put(str(name), body, sha256=name.digest, retain_until=retain_until)
    except NameTakenError:
        version_id = _adopt(store, name, size_bytes)
        ensure_lock(store, name, version_id, retain_until)
    check_lock(store, _head_of_new(store, name, version_id), retain_until)
    return Reference(name, version_id, size_bytes)


def _head_of_new(store: Store, name: ObjectName, version_id: str) -> Head:
    failures = 0
    while True:
        try:
            return store.head(str(name), version_id)
        except ObjectMissingError as error:
            failures += 1
            if failures == HEADS_MAX:
                raise StoreUnreachableError(
                    f"{name} was put, and the store does not know it"
                ) from error


def _adopt(store: Store, name: ObjectName, size_bytes: int) -> str:
    for version in _versions(store, name):
        if version.size_bytes != size_bytes:
            continue
        if _read_if_sound(store, name, version.version_id, size_bytes) is not None:
            return version.version_id
    raise CorruptError(f"{name} exists in the vault with other bytes than its name says")


def ensure_lock(store: Store, name: ObjectName, version_id: str, retain_until: datetime) -> Head:
    """Extend the lock of a version if it ends before ``retain_until``; tells the lock read back."""
    head = store.head(str(name), version_id)
    if head.retain_until is None or head.retain_until < retain_until:
        store.extend(str(name), version_id, retain_until)
        head = store.head(str(name), version_id)
    check_lock(store, head, retain_until)
    return head


def check_lock(store: Store, head: Head, retain_until: datetime) -> None:
    """Require that the store itself reports the lock that was asked for."""
    if head.retain_until is None or head.retain_until < retain_until.replace(microsecond=0):
        raise LockRefusedError(
            f"{head.name}: the lock was asked for until {retain_until:%Y-%m-%d %H:%M:%S} UTC, "
            f"the store reports {head.retain_until or 'none'}"
        )
    if _STRENGTH[head.lock_mode] < _STRENGTH[store.lock_mode]:
        raise LockRefusedError(
            f"{head.name}: locked in mode {head.lock_mode.value}, not {store.lock_mode.value}"
        )


def read_reference(
    store: Store, reference: Reference, *, on_tamper: OnTamper | None = None
) -> tuple[bytes, str]:
    """The bytes of a referenced object and the version they were found in."""
    return read_object(
        store,
        reference.name,
        reference.version_id,
        size_bytes=reference.size_bytes,
        on_tamper=on_tamper,
    )


def read_object(
    store: Store,
    name: ObjectName,
    version_id: str | None = None,
    *,
    size_bytes: int | None = None,
    on_tamper: OnTamper | None = None,
) -> tuple[bytes, str]:
    """The bytes of an object and the version they were found in, proved by the name.

    The recorded version is tried first, then every other one; a version longer than its kind can
    be is not read. ``ObjectMissingError`` when there is none, ``CorruptError`` when none matches.
    """
    problems: list[str] = []
    if version_id is not None:
        try:
            if size_bytes is None:
                size_bytes = store.head(str(name), version_id).size_bytes
            data = _read_if_sound(store, name, version_id, size_bytes)
            if data is not None:
                return data, version_id
            problems.append(f"version {version_id} holds other bytes than its name says")
        except ObjectMissingError:
            pass  # the vault was copied to another bucket, or the version is lost: see the others
    for version in _versions(store, name):
        if version.version_id == version_id:
            continue
        try:
            data = _read_if_sound(store, name, version.version_id, version.size_bytes)
        except ObjectMissingError:
            continue
        if data is not None:
            for problem in problems:
                _report(on_tamper, f"{name}: {problem}")
            return data, version.version_id
        problems.append(f"version {version.version_id} holds other bytes than its name says")
    for problem in problems:
        _report(on_tamper, f"{name}: {problem}")
    if problems:
        raise CorruptError(f"{name}: no version holds the bytes that its name says")
    raise ObjectMissingError(f"{name} is not in the vault")


def _read_if_sound(
    store: Store, name: ObjectName, version_id: str, size_bytes: int
) -> bytes | None:
    if size_bytes > OBJECT_SIZE_MAX[name.kind]:
        return None
    for _ in range(READS_MAX):
        data = store.get(str(name), version_id, length=size_bytes)
        if hashlib.sha256(data).digest() == name.digest:
            return data
    return None


def _versions(store: Store, name: ObjectName) -> list[Version]:
    return [
        version
        for version in store.list_versions(str(name))
        if version.name == str(name) and not version.is_delete_marker
    ]


def _report(on_tamper: OnTamper | None, message: str) -> None:
    if on_tamper is not None:
        on_tamper(message)


def named(
    kind: Kind,
    data: bytes,
    *,
    owner: bytes | None = None,
    source: bytes | None = None,
    sequence: int | None = None,
) -> ObjectName:
    """The name that an object of these bytes has."""
    digest = hashlib.sha256(data).digest()
    return ObjectName(kind=kind, digest=digest, owner=owner, source=source, sequence=sequence)


def ensure_object(store: Store, name: ObjectName, data: bytes, retain_until: datetime) -> Reference:
    """Put a small object unless the vault holds its bytes already; its lock reaches the date.

    Asked first rather than put and refused, because some stores accept a name twice.
    """
    for version in _versions(store, name):
        if version.size_bytes == len(data) and store.get(str(name), version.version_id) == data:
            ensure_lock(store, name, version.version_id, retain_until)
            return Reference(name, version.version_id, len(data))
    return put_object(store, name, [data], retain_until)
