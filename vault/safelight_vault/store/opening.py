"""From a vault's URL to its store.

The invariant: a URL that is not understood is refused with the reason, and never shown when it
holds a password.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from safelight_vault.errors import ConfigurationError
from safelight_vault.store import LockMode, Store
from safelight_vault.store.backoff import Backoff
from safelight_vault.store.directory import DirectoryStore
from safelight_vault.store.retrying import RetryingStore
from safelight_vault.store.s3 import S3Store
from safelight_vault.store.s3_settings import S3Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """What a URL does not say. All but ``create`` concern ``s3://`` only.

    ``create`` makes a new directory store where there is none (a bucket is never created).
    ``attempts``, ``base_seconds`` and ``cap_seconds`` bound how often, and how far apart, a request
    is tried; the rest is described at :class:`S3Settings`.
    """

    create: bool = False
    mode: LockMode = LockMode.COMPLIANCE
    endpoint_url: str | None = None
    region: str | None = None
    ca_bundle: Path | None = None
    profile: str | None = None
    allow_plaintext_loopback: bool = False
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0
    attempts: int = 6
    base_seconds: float = 0.5
    cap_seconds: float = 20.0


def open_store(
    url: str,
    *,
    options: StoreOptions,
    now: Callable[[], datetime],
    new_version_id: Callable[[], str],
    sleep: Callable[[float], None],
    uniform: Callable[[float, float], float],
) -> Store:
    """The store at ``file:///absolute/path`` or ``s3://bucket/prefix``.

    ``now`` and ``new_version_id`` serve a directory (a bucket has its own), ``sleep`` and
    ``uniform`` the retries of a bucket (a local disk either answers or must be mended).
    """
    parts = _split(url)
    if parts.scheme == "file":
        return DirectoryStore(
            _directory(url, parts),
            now=now,
            new_version_id=new_version_id,
            create=options.create,
        )
    settings = S3Settings(
        bucket=parts.netloc,
        prefix=parts.path.strip("/"),
        mode=options.mode,
        endpoint_url=options.endpoint_url,
        region=options.region,
        ca_bundle=options.ca_bundle,
        profile=options.profile,
        allow_plaintext_loopback=options.allow_plaintext_loopback,
        connect_timeout_seconds=options.connect_timeout_seconds,
        read_timeout_seconds=options.read_timeout_seconds,
    )
    backoff = Backoff(
        attempts=options.attempts,
        base_seconds=options.base_seconds,
        cap_seconds=options.cap_seconds,
        sleep=sleep,
        uniform=uniform,
    )
    return RetryingStore(
        S3Store(settings, page_backoff=backoff),
        attempts=options.attempts,
        sleep=sleep,
        uniform=uniform,
        base_seconds=options.base_seconds,
        cap_seconds=options.cap_seconds,
        listing_attempts=1,
    )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        has_secret = parts.username is not None or parts.password is not None
    except ValueError as error:
        raise ConfigurationError("the vault's URL cannot be parsed") from error
    if has_secret:
        raise ConfigurationError(
            "the vault's URL contains a user or password",
            remedy="Give credentials by the AWS variables or files, never in the URL.",
        )
    if parts.scheme not in {"file", "s3"}:
        raise ConfigurationError(
            f"not a vault's URL: {url!r}",
            remedy="Use file:///absolute/path or s3://bucket/prefix.",
        )
    if parts.query or parts.fragment:
        raise ConfigurationError(
            f"a vault's URL has no '?' and no '#': {url!r}",
            remedy="Write these characters of a path as %3F and %23.",
        )
    return parts


def _directory(url: str, parts: SplitResult) -> Path:
    path = unquote(parts.path, errors="surrogateescape")
    if parts.netloc not in {"", "localhost"} or not path.startswith("/") or "\0" in path:
        raise ConfigurationError(
            f"not the URL of a directory on this machine: {url!r}",
            remedy="Use file:///absolute/path, with three slashes.",
        )
    return Path(path)
