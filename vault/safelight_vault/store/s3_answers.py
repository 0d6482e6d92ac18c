"""What an S3 server's answers mean, as pure functions: refusals, dates, locks, listings.

The invariants: 403 is never "absent" and 404 is "absent" only when S3's own code says so (a proxy's
404 page is not); whatever a server does to slow us down or break off is "unreachable", never
"corrupt"; and no answer, however wrong, makes a listing endless or shows a key of somebody else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from safelight_vault.errors import (
    AccessDeniedError,
    ClockSkewError,
    ConfigurationError,
    LockRefusedError,
    NameTakenError,
    ObjectMissingError,
    RefusedError,
    StoreUnreachableError,
    VaultError,
)
from safelight_vault.store import LockMode, Version
from safelight_vault.store.facts import BucketFacts
from safelight_vault.store.names import is_valid_name

_MESSAGE_LENGTH_MAX = 300


class Purpose(Enum):
    """What a request was for: the same code means different things to different requests."""

    READ = "read"
    PUT = "put"
    EXTEND = "extend"
    LIST = "list"
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error answer of S3. ``region`` is where the bucket really is, if the answer says so."""

    status: int
    code: str
    message: str
    region: str | None = None


_Meaning = tuple[type[VaultError], str, str | None]

_EXPIRED: _Meaning = (
    AccessDeniedError,
    "the credentials have expired",
    "Renew the credentials (or their session token), then run again.",
)
_BAD_CREDENTIALS: _Meaning = (AccessDeniedError, "the store does not know the credentials", None)
_DENIED: _Meaning = (AccessDeniedError, "the store denies access", None)
_NO_BUCKET: _Meaning = (
    ConfigurationError,
    "there is no such bucket",
    "Check the vault's URL, the endpoint and the region.",
)
_ELSEWHERE: _Meaning = (
    ConfigurationError,
    "the bucket is served by another region or host, and redirects are not followed",
    "Set the region (AWS_REGION) or the endpoint to where the bucket is.",
)
_MISSING: _Meaning = (ObjectMissingError, "not in the store", None)
_TAKEN: _Meaning = (NameTakenError, "in the store already", None)
_BUSY: _Meaning = (StoreUnreachableError, "the store did not carry out the request", None)
_LOCK_REFUSED: _Meaning = (LockRefusedError, "the store refuses the lock", None)
_UNKNOWN_OPERATION: _Meaning = (
    ConfigurationError,
    "the store does not support this operation",
    "Use a store with versioning and Object Lock.",
)
_NOT_S3: _Meaning = (
    StoreUnreachableError,
    "the answer is not one of an S3 store",
    "Check the endpoint, and proxies on the way to it.",
)

_BY_CODE: Mapping[str, _Meaning] = {
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": _BAD_CREDENTIALS,
    "InvalidAccessKeyId": _BAD_CREDENTIALS,
    "SignatureDoesNotMatch": _BAD_CREDENTIALS,
    "AccessDenied": _DENIED,
    "RequestTimeTooSkewed": (
        ClockSkewError,
        "the store finds the system clock too far from its own",
        None,
    ),
    "NoSuchBucket": _NO_BUCKET,
    "InvalidBucketName": _NO_BUCKET,
    "PermanentRedirect": _ELSEWHERE,
    "TemporaryRedirect": _ELSEWHERE,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "IllegalLocationConstraintException": _ELSEWHERE,
    "NoSuchKey": _MISSING,
    "NoSuchVersion": _MISSING,
    "InvalidRange": _MISSING,
    "PreconditionFailed": _TAKEN,
    "ConditionalRequestConflict": _BUSY,
    "OperationAborted": _BUSY,
    "RequestTimeout": _BUSY,
    "IncompleteBody": _BUSY,
    "SlowDown": _BUSY,
    # The body was checked before it was sent: it was damaged on the way.
    "BadDigest": _BUSY,
    "XAmzContentSHA256Mismatch": _BUSY,
    "XAmzContentChecksumMismatch": _BUSY,
}

NO_OBJECT_LOCK_CODES = frozenset(
    {"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"}
)
"""How servers say that a bucket has no Object Lock."""

_LOCK_CODES = NO_OBJECT_LOCK_CODES | {
    "InvalidArgument",
    "InvalidBucketState",
    "InvalidRequest",
    "InvalidRetentionPeriod",
}

_BY_PURPOSE: Mapping[tuple[Purpose, str], _Meaning] = {
    **{(Purpose.PUT, code): _LOCK_REFUSED for code in _LOCK_CODES},
    **{(Purpose.EXTEND, code): _LOCK_REFUSED for code in _LOCK_CODES},
    # S3 says the same to an earlier date as to missing rights; in both cases the lock stands.
    (Purpose.EXTEND, "AccessDenied"): _LOCK_REFUSED,
    # A version id of a form that this server never gave, and a delete marker asked for its bytes.
    (Purpose.READ, "InvalidArgument"): _MISSING,
    (Purpose.READ, "MethodNotAllowed"): _MISSING,
    (Purpose.EXTEND, "MethodNotAllowed"): _MISSING,
}

_BY_STATUS: Mapping[int, _Meaning] = {
    301: _ELSEWHERE,
    302: _ELSEWHERE,
    303: _ELSEWHERE,
    307: _ELSEWHERE,
    308: _ELSEWHERE,
    401: _DENIED,
    403: _DENIED,
    404: _NOT_S3,
    408: _BUSY,
    412: _TAKEN,
    416: _MISSING,
    429: _BUSY,
    501: _UNKNOWN_OPERATION,
}

_OTHER: _Meaning = (RefusedError, "the store refuses the request", None)


def error_of(refusal: Refusal, *, subject: str, purpose: Purpose) -> VaultError:
    """The vault's error for a refusal; ``subject`` is what the request was about."""
    server_error = refusal.status >= 500 and refusal.status != 501
    error, explanation, remedy = (
        _BY_PURPOSE.get((purpose, refusal.code))
        or _BY_CODE.get(refusal.code)
        or _BY_STATUS.get(refusal.status)
        or (_BUSY if server_error else _OTHER)
    )
    region = f"; it is in region {refusal.region}" if refusal.region else ""
    said = printable(f"{refusal.status} {refusal.code}: {refusal.message}")
    return error(f"{subject}: {explanation}{region} ({said})", remedy=remedy)


def printable(text: str) -> str:
    """A server's text for a message: bounded, without control characters."""
    return "".join(c if c.isprintable() else " " for c in text[:_MESSAGE_LENGTH_MAX]).strip()


def refusal_of(response: Mapping[str, Any]) -> Refusal:
    """The error part of botocore's parsed answer."""
    error = response.get("Error", {})
    metadata = response.get("ResponseMetadata", {})
    return Refusal(
        status=int(metadata.get("HTTPStatusCode", 0)),
        code=str(error.get("Code") or "no code"),
        message=str(error.get("Message") or "no message"),
        region=metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region"),
    )


def parse_http_date(text: str) -> datetime | None:
    """A ``Date`` header in UTC; None when it is missing or makes no sense."""
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return None if date.tzinfo is None else date.astimezone(UTC)


_MODES: Mapping[object, LockMode] = {
    "COMPLIANCE": LockMode.COMPLIANCE,
    "GOVERNANCE": LockMode.GOVERNANCE,
}


def lock_of(answer: Mapping[str, Any]) -> tuple[LockMode, datetime | None]:
    """Mode and date of an object's headers; half a lock is none."""
    mode, date = _MODES.get(answer.get("ObjectLockMode")), answer.get("ObjectLockRetainUntilDate")
    if mode is None or not isinstance(date, datetime) or date.tzinfo is None:
        return LockMode.NONE, None
    return mode, date.astimezone(UTC)


def facts_from(
    *, lock: Mapping[str, Any] | None, versioning: Mapping[str, Any] | None
) -> BucketFacts:
    """A bucket's settings from its answers, of which None is one that was not given."""
    configuration = (lock or {}).get("ObjectLockConfiguration", {})
    default = configuration.get("Rule", {}).get("DefaultRetention", {})
    enabled = configuration.get("ObjectLockEnabled") == "Enabled"
    return BucketFacts(
        object_lock=None if lock is None else enabled,
        versioning=None if versioning is None else versioning.get("Status") == "Enabled",
        default_mode=_MODES.get(default.get("Mode")),
        default_days=default.get("Days") or (default.get("Years") or 0) * 365 or None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """Where a listing goes on: behind this version of this key."""

    key: str
    version_id: str


class MarkerTrail:
    """Watches the markers of one listing, which must move on: a loop would never end."""

    def __init__(self) -> None:
        self._key = ""
        self._versions_of_key = {""}

    def next_marker(self, page: Mapping[str, Any], *, subject: str) -> Marker | None:
        """Where the next page begins; None after the last; ``StoreUnreachableError`` on a loop."""
        if not page.get("IsTruncated"):
            return None
        key = page.get("NextKeyMarker")
        version_id = page.get("NextVersionIdMarker") or ""
        moves_on = isinstance(key, str) and (
            key > self._key or (key == self._key and version_id not in self._versions_of_key)
        )
        if not moves_on:
            raise StoreUnreachableError(f"{subject}: the store's listing does not move on")
        if key != self._key:
            self._key = str(key)
            self._versions_of_key.clear()
        self._versions_of_key.add(version_id)
        return Marker(key=self._key, version_id=version_id)


def versions_of(page: Mapping[str, Any], *, key_root: str, prefix: str) -> list[Version]:
    """The versions and delete markers of one page, by name, newest first within a name.

    A key outside what was asked for means that this is not the answer to our question
    (``StoreUnreachableError``). A key that is no valid name was put there by somebody else and is
    passed over: no object of a vault is named so, and nobody shall stop a restore by putting one.
    """
    found = [
        version
        for entries, is_marker in ((page.get("Versions"), False), (page.get("DeleteMarkers"), True))
        for version in _entries(entries or (), is_marker, key_root=key_root, prefix=prefix)
    ]
    # S3 sends versions and markers as two lists, each newest first; some servers keep whole
    # seconds only, so that being the latest counts before the date.
    found.sort(key=lambda v: (v.name, not v.is_latest, -v.modified.timestamp()))
    return found


def _entries(
    entries: Iterable[Mapping[str, Any]], is_marker: bool, *, key_root: str, prefix: str
) -> Iterable[Version]:
    for entry in entries:
        key = str(entry.get("Key", ""))
        if not key.startswith(key_root + prefix):
            raise StoreUnreachableError(
                f"listing {prefix!r}: the store answered with other keys than it was asked for"
            )
        name = key[len(key_root) :]
        if not is_valid_name(name):
            continue
        modified = entry.get("LastModified")
        yield Version(
            name=name,
            version_id=str(entry.get("VersionId") or "null"),
            size_bytes=0 if is_marker else int(entry.get("Size") or 0),
            is_latest=bool(entry.get("IsLatest")),
            is_delete_marker=is_marker,
            modified=modified.astimezone(UTC)
            if isinstance(modified, datetime)
            else datetime.fromtimestamp(0, UTC),
        )
