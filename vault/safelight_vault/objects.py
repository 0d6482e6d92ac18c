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
)
from safelight_vault.format.names import Kind, ObjectName
from safelight_vault.format.references import Reference
from safelight_vault.store import Buffers, Head, LockMode, Store, Version

OnTamper = Callable[[str], None]
"""Told in words of a version that is not what its name says."""

_STRENGTH = {
    LockMode.NONE: 0,
    LockMode.EMULATED: 1,
    LockMode.GOVERNANCE: 2,
    LockMode.COMPLIANCE: 3,
}


def put_object(store: Store, name: ObjectName, body: Buffers, retain_until: datetime) -> Reference:
    """Put an object under lock, or adopt a version that holds its bytes already.

    Raises ``LockRefusedError`` when the lock read back is weaker or shorter than asked.
    """
    size_bytes = sum(len(part) for part in body)
    try:
        version_id = store.put(str(name), body, sha256=name.digest, retain_until=retain_until)
    except NameTakenError:
        version_id = _adopt(store, name, size_bytes)
        ensure_lock(store, name, version_id, retain_until)
    check_lock(store, store.head(str(name), version_id), retain_until)
    return Reference(name, version_id, size_bytes)


def _adopt(store: Store, name: ObjectName, size_bytes: int) -> str:
    for version in _versions(store, name):
        if version.size_bytes == size_bytes:
            data = store.get(str(name), version.version_id)
            if hashlib.sha256(data).digest() == name.digest:
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


def read_object(
    store: Store,
    name: ObjectName,
    version_id: str | None = None,
    *,
    on_tamper: OnTamper | None = None,
) -> tuple[bytes, str]:
    """The bytes of an object and the version they were found in, proved by the name.

    The recorded version is tried first, then every other one. ``ObjectMissingError`` when there is
    none, ``CorruptError`` when none matches.
    """
    seen = False
    tried: set[str] = set()
    if version_id is not None:
        tried.add(version_id)
        try:
            data = store.get(str(name), version_id)
            if hashlib.sha256(data).digest() == name.digest:
                return data, version_id
            seen = True
            _report(on_tamper, f"{name}: version {version_id} holds other bytes than its name says")
        except ObjectMissingError:
            _report(on_tamper, f"{name}: the recorded version {version_id} is gone")
    for version in _versions(store, name):
        if version.version_id in tried:
            continue
        seen = True
        try:
            data = store.get(str(name), version.version_id)
        except ObjectMissingError:
            continue
        if hashlib.sha256(data).digest() == name.digest:
            return data, version.version_id
        _report(
            on_tamper,
            f"{name}: version {version.version_id} holds other bytes than its name says",
        )
    if seen:
        raise CorruptError(f"{name}: no version holds the bytes that its name says")
    raise ObjectMissingError(f"{name} is not in the vault")


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
