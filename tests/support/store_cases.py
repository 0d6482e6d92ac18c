"""Every kind of store, ready to be tested, with what can be done to it from outside.

Where a server differs from S3 in a way that the vault is built to survive, the difference is a
field of :class:`StoreCase`, so that tests say what holds there instead of looking away.
"""

import hashlib
import itertools
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from faulty_store import FaultyStore
from memory_store import MemoryStore
from s3_server import S3Server
from safelight_vault.errors import AccessDeniedError
from safelight_vault.store import LockMode, Store
from safelight_vault.store.backoff import Backoff
from safelight_vault.store.directory import DirectoryStore
from safelight_vault.store.directory_layout import object_path
from safelight_vault.store.retrying import RetryingStore
from safelight_vault.store.s3 import S3Store
from safelight_vault.store.s3_settings import S3Settings

HOUR = timedelta(hours=1)

KINDS = (
    "memory",
    "directory",
    "faulty",
    "retrying",
    "seaweed-http",
    "seaweed-tls",
    "radosgw-http",
    "radosgw-tls",
)
"""Names of all cases; those with a hyphen need the server of that name."""

PREFIX = "hospital/vault"
"""Where the S3 cases keep their vault in the bucket."""


def system_now() -> datetime:
    """The clock of these stores: real servers can have no other."""
    return datetime.now(UTC)


def new_version_id() -> str:
    """A random version id."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCase:
    """A store under test, and what can be done to it from outside."""

    store: Store
    overwrite: Callable[[str, bytes], str]
    """Lay a newer version over a name by other means than the store's own; gives its id."""
    lay_delete_marker: Callable[[str], object] | None
    """Lay a delete marker over a name; None where there are none."""
    delete_version: Callable[[str, str], object] | None
    """Remove a version with the owner's rights; None where the host can always do so."""
    second_put_makes_a_version: bool = False
    """``If-None-Match`` is accepted and ignored: the vault goes by hash and VersionId."""
    loses_racing_extensions: bool = False
    """Of two extensions at once the earlier may win: commits must read their locks back."""
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def fresh(self) -> str:
        """A part of the name space that no other test has used, with its slash."""
        return f"packs/{next(self._numbers):08d}/"

    def put(self, name: str, data: bytes, *, retain_until: datetime | None = None) -> str:
        """Put with the right digest, under a lock of an hour unless told otherwise."""
        return self.store.put(
            name,
            [data],
            sha256=hashlib.sha256(data).digest(),
            retain_until=retain_until or system_now() + HOUR,
        )


def new_memory_store() -> MemoryStore:
    """An empty store in memory on the real clock."""
    return MemoryStore(now=system_now, new_version_id=new_version_id)


def memory_case(store: MemoryStore, outer: Store | None = None) -> StoreCase:
    """A case on memory, seen through ``outer`` if given."""
    return StoreCase(
        store=outer or store,
        overwrite=store.attacker_overwrite,
        lay_delete_marker=store.attacker_delete_marker,
        delete_version=store.delete_version,
    )


def directory_case(root: Path) -> StoreCase:
    """A case on a new directory store."""

    def overwrite(name: str, data: bytes) -> str:
        version_id = new_version_id()
        root.joinpath(*object_path(name), version_id).write_bytes(data)
        return version_id

    return StoreCase(
        store=DirectoryStore(root, now=system_now, new_version_id=new_version_id, create=True),
        overwrite=overwrite,
        lay_delete_marker=None,
        delete_version=None,
    )


def never_sleep(seconds: float) -> None:
    """The pause of a store that must not fail even once."""
    raise AssertionError(f"a healthy store was tried again after {seconds} s")


ONCE = Backoff(
    attempts=1, base_seconds=0.0, cap_seconds=0.0, sleep=never_sleep, uniform=random.uniform
)


def s3_settings(
    server: S3Server, bucket: str, *, tls: bool = True, mode: LockMode = LockMode.COMPLIANCE
) -> S3Settings:
    """How a bucket of a server is reached."""
    return S3Settings(
        bucket=bucket,
        prefix=PREFIX,
        mode=mode,
        endpoint_url=server.tls_endpoint if tls else server.endpoint,
        ca_bundle=server.ca_path if tls else None,
        allow_plaintext_loopback=not tls,
    )


def s3_store(settings: S3Settings, server: S3Server, *, secret_key: str | None = None) -> S3Store:
    """A store with the server's credentials (or a wrong secret) in the environment meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", secret_key or server.secret_key)
        return S3Store(settings, page_backoff=ONCE)


def s3_case(server: S3Server, *, tls: bool) -> StoreCase:
    """A case on a new bucket of a server, whose attacker holds the owner's credentials."""
    attacker, bucket = server.attacker(), server.new_bucket()

    def key(name: str) -> str:
        return f"{PREFIX}/{name}"

    def overwrite(name: str, data: bytes) -> str:
        answer = attacker.put_object(Bucket=bucket, Key=key(name), Body=data)
        return str(answer["VersionId"])

    def delete_version(name: str, version_id: str) -> None:
        try:
            attacker.delete_object(
                Bucket=bucket, Key=key(name), VersionId=version_id, BypassGovernanceRetention=True
            )
        except ClientError as error:
            raise AccessDeniedError(str(error)) from error

    return StoreCase(
        store=s3_store(s3_settings(server, bucket, tls=tls), server),
        overwrite=overwrite,
        lay_delete_marker=lambda name: attacker.delete_object(Bucket=bucket, Key=key(name)),
        delete_version=delete_version,
        second_put_makes_a_version=server.ignores_conditional_writes,
        loses_racing_extensions=server.loses_racing_extensions,
    )


def make_case(kind: str, request: pytest.FixtureRequest, directory: Path) -> StoreCase:
    """The case of one of :data:`KINDS`; ``directory`` is an empty one for those that need it."""
    if kind == "directory":
        return directory_case(directory / "vault")
    inner = new_memory_store()
    if kind == "memory":
        return memory_case(inner)
    if kind == "faulty":
        return memory_case(inner, FaultyStore(inner))
    if kind == "retrying":
        outer = RetryingStore(inner, attempts=3, sleep=never_sleep, uniform=random.uniform)
        return memory_case(inner, outer)
    service, _, transport = kind.partition("-")
    return s3_case(request.getfixturevalue(service), tls=transport == "tls")
