"""``s3://``: a store in a bucket with Object Lock. The only module that knows boto3.

The invariants: one put makes one object, locked in the same request (several servers store
multipart uploads unlocked); what is read is exactly what was asked for, of exactly one version; no
request ever follows a redirect to another host; and the library underneath never retries by
itself, so that every attempt is counted in one place.
"""

import base64
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSLError,
)
from urllib3.exceptions import HTTPError

from safelight_vault.errors import (
    AccessDeniedError,
    ConfigurationError,
    LockRefusedError,
    ObjectMissingError,
    StoreUnreachableError,
    VaultError,
)
from safelight_vault.store import Buffers, Head, LockMode, Version
from safelight_vault.store import s3_answers as answers
from safelight_vault.store import s3_ranges as checked
from safelight_vault.store.backoff import Backoff
from safelight_vault.store.facts import BucketFacts
from safelight_vault.store.names import validate_name, validate_prefix
from safelight_vault.store.ranges import require_range, resolve_range
from safelight_vault.store.retention import lock_date
from safelight_vault.store.s3_answers import Purpose
from safelight_vault.store.s3_body import ReplayableBody
from safelight_vault.store.s3_settings import S3Settings, require_safe_endpoint

CLOCK_AGE_SECONDS_MAX = 60.0
"""How old a ``Date`` header may be before ``now`` asks for a new one."""

_CONNECTIONS_MAX = 64


class S3Store:
    """A store in one bucket, below one prefix; safe for several threads.

    ``page_backoff`` says how often one page of a listing is tried: a listing of millions must not
    start anew because one of its thousands of requests failed. ``monotonic`` measures how old the
    last answer is, in seconds.
    """

    def __init__(
        self,
        settings: S3Settings,
        *,
        page_backoff: Backoff,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._page_backoff = page_backoff
        self._monotonic = monotonic
        self._client = _connect(settings)
        self._conditional_puts = True
        self._clock_guard = threading.Lock()
        self._clock: tuple[datetime, float] | None = None

    @property
    def url(self) -> str:
        """The vault's URL."""
        return self._settings.url

    @property
    def lock_mode(self) -> LockMode:
        """The mode that this store was set up with."""
        return self._settings.mode

    def put(self, name: str, body: Buffers, *, sha256: bytes, retain_until: datetime) -> str:
        """Write a new object under lock in one request and return its VersionId."""
        validate_name(name)
        date = lock_date(retain_until)
        stream = ReplayableBody(body)
        arguments = {
            **self._version(name, None),
            "ContentLength": stream.size_bytes,
            "ContentType": "application/octet-stream",
            # Servers differ in which of the two they check; AWS demands one with a lock.
            "ContentMD5": _base64(stream.md5_of(sha256=sha256, name=name)),
            "ChecksumSHA256": _base64(sha256),
            "ObjectLockMode": self._settings.mode.name,
            "ObjectLockRetainUntilDate": date,
        }
        try:
            answer = self._put_once(name, stream, arguments)
        except ClientError as error:
            raise _refused(error, name, Purpose.PUT) from error
        version_id = answer.get("VersionId")
        if not version_id or version_id == "null":
            raise LockRefusedError(
                f"{name}: the store gave no version id, so nothing can be locked",
                remedy="Create the bucket with Object Lock, which includes versioning.",
            )
        return str(version_id)

    def get(
        self,
        name: str,
        version_id: str | None = None,
        *,
        offset: int = 0,
        length: int | None = None,
    ) -> bytes:
        """Read exactly the range asked for, of the version asked for."""
        validate_name(name)
        require_range(offset=offset, length=length)
        if length == 0:
            return self._nothing(name, version_id, offset=offset, length=0)
        whole = offset == 0 and length is None
        end = "" if length is None else str(offset + length - 1)
        asked = {} if whole else {"Range": f"bytes={offset}-{end}"}
        try:
            answer = self._call(
                "get_object", name, Purpose.READ, **self._version(name, version_id), **asked
            )
        except ObjectMissingError:
            if offset == 0 or length is not None:
                raise
            return self._nothing(name, version_id, offset=offset, length=None)
        with _reading(name, answer["Body"]) as read:
            checked.require_version(name, version_id, answer)
            if answer["ResponseMetadata"]["HTTPStatusCode"] == 206:
                return read(checked.length_of_part(name, answer, offset=offset, length=length))
            return checked.from_whole(name, answer, read, offset=offset, length=length)

    def head(self, name: str, version_id: str | None = None) -> Head:
        """Size and lock of one version, from its headers."""
        validate_name(name)
        arguments = self._version(name, version_id)
        try:
            answer = self._request("head_object", name, **arguments)
        except ClientError as error:
            raise self._explained(error, name, arguments) from error
        checked.require_version(name, version_id, answer)
        mode, until = answers.lock_of(answer)
        return Head(
            name=name,
            version_id=str(answer.get("VersionId") or "null"),
            size_bytes=checked.content_length(name, answer),
            lock_mode=mode,
            retain_until=until,
        )

    def list_versions(self, prefix: str) -> Iterator[Version]:
        """Every version and delete marker below ``prefix``, one page of a thousand at a time."""
        validate_prefix(prefix)
        subject = f"listing {prefix!r}"
        trail = answers.MarkerTrail()
        arguments = {"Prefix": self._settings.key_root + prefix}
        while True:
            ask = partial(self._call, "list_object_versions", subject, Purpose.LIST, **arguments)
            page = self._page_backoff.call(ask)
            yield from answers.versions_of(page, key_root=self._settings.key_root, prefix=prefix)
            marker = trail.next_marker(page, subject=subject)
            if marker is None:
                return
            arguments = {"Prefix": arguments["Prefix"], "KeyMarker": marker.key}
            if marker.version_id:
                arguments["VersionIdMarker"] = marker.version_id

    def extend(self, name: str, version_id: str, retain_until: datetime) -> None:
        """Move the lock of one version to a later date; the store itself refuses an earlier one."""
        validate_name(name)
        retention = {
            "Mode": self._settings.mode.name,
            "RetainUntilDate": lock_date(retain_until),
        }
        self._call(
            "put_object_retention",
            name,
            Purpose.EXTEND,
            **self._version(name, version_id),
            Retention=retention,
        )

    def now(self) -> datetime:
        """The store's clock: the ``Date`` of its last answer, plus the time since then."""
        known = self._clock_reading()
        if known is None:
            # Any answer tells the time, a refusal too.
            with contextlib.suppress(ClientError):
                self._request("head_bucket", "the store's clock")
            known = self._clock_reading()
        if known is None:
            raise StoreUnreachableError("the store's answers carry no date")
        return known

    def bucket_facts(self) -> BucketFacts:
        """The bucket's settings; what the store does not tell is None."""
        return answers.facts_from(
            lock=self._settings_of("get_object_lock_configuration"),
            versioning=self._settings_of("get_bucket_versioning"),
        )

    def _request(self, operation: str, subject: str, **arguments: Any) -> dict[str, Any]:
        """Send one request once. A refusal stays a ``ClientError``, all else is translated."""
        try:
            answer = getattr(self._client, operation)(Bucket=self._settings.bucket, **arguments)
        except ClientError as error:
            self._note_date(error.response)
            raise
        except (BotoCoreError, HTTPError) as error:
            raise _library_error(error, subject) from error
        except ValueError as error:
            # The library's parser met a number or a date that is none.
            raise StoreUnreachableError(f"{subject}: the store's answer is unreadable") from error
        self._note_date(answer)
        return dict(answer)

    def _call(
        self, operation: str, subject: str, purpose: Purpose, **arguments: Any
    ) -> dict[str, Any]:
        """Send one request once, and translate everything that is not its answer."""
        try:
            return self._request(operation, subject, **arguments)
        except ClientError as error:
            raise _refused(error, subject, purpose) from error

    def _put_once(
        self, name: str, stream: ReplayableBody, arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """One put, on condition that the name is free where the store knows conditions."""
        if self._conditional_puts:
            try:
                return self._request("put_object", name, Body=stream, IfNoneMatch="*", **arguments)
            except ClientError as error:
                if answers.refusal_of(error.response).status != 501:
                    raise
                self._conditional_puts = False
                stream.seek(0)
        return self._request("put_object", name, Body=stream, **arguments)

    def _version(self, name: str, version_id: str | None) -> dict[str, str]:
        key = {"Key": self._settings.key_root + name}
        return key if version_id is None else {**key, "VersionId": version_id}

    def _nothing(
        self, name: str, version_id: str | None, *, offset: int, length: int | None
    ) -> bytes:
        """The empty range, which S3 cannot express: fine if the object reaches so far."""
        size = self.head(name, version_id).size_bytes
        if resolve_range(name, size_bytes=size, offset=offset, length=length) > 0:
            raise StoreUnreachableError(f"{name}: the store refuses a range that it has")
        return b""

    def _explained(self, error: ClientError, name: str, arguments: Mapping[str, Any]) -> VaultError:
        """The reason of a refused head, whose answer has no body: ask again as a small get."""
        status = answers.refusal_of(error.response).status
        if status >= 500 or status in {408, 429}:
            return _refused(error, name, Purpose.READ)
        try:
            answer = self._request("get_object", name, Range="bytes=0-0", **arguments)
        except ClientError as reason:
            return _refused(reason, name, Purpose.READ)
        answer["Body"].close()
        return StoreUnreachableError(f"{name}: the store both has it and does not")

    def _settings_of(self, operation: str) -> dict[str, Any] | None:
        """A setting's answer; empty when it is not set, None when the store does not tell."""
        try:
            return self._request(operation, "the bucket's settings")
        except ClientError as error:
            refusal = answers.refusal_of(error.response)
            if refusal.code in answers.NO_OBJECT_LOCK_CODES:
                return {}
            if refusal.status == 501 or refusal.code in {"AccessDenied", "MethodNotAllowed"}:
                return None
            raise _refused(error, "the bucket's settings", Purpose.SETTINGS) from error

    def _note_date(self, answer: Mapping[str, Any]) -> None:
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        date = answers.parse_http_date(headers.get("date", ""))
        if date is not None:
            with self._clock_guard:
                self._clock = (date, self._monotonic())

    def _clock_reading(self) -> datetime | None:
        with self._clock_guard:
            if self._clock is None:
                return None
            date, noted_at = self._clock
            age_seconds = self._monotonic() - noted_at
        if age_seconds > CLOCK_AGE_SECONDS_MAX:
            return None
        return date + timedelta(seconds=age_seconds)


def _connect(settings: S3Settings) -> Any:
    """A client that retries nothing, follows nowhere, and speaks TLS or not at all."""
    config = Config(
        connect_timeout=settings.connect_timeout_seconds,
        read_timeout=settings.read_timeout_seconds,
        retries={"total_max_attempts": 1, "mode": "standard"},
        # Checksums are sent as explicit headers: the library's trailers fail on some servers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=_CONNECTIONS_MAX,
        user_agent_extra="safelight",
    )
    try:
        session = boto3.session.Session(profile_name=settings.profile, region_name=settings.region)
        client = session.client(
            "s3",
            endpoint_url=settings.endpoint_url,
            verify=None if settings.ca_bundle is None else str(settings.ca_bundle),
            config=config,
        )
    except BotoCoreError as error:
        raise ConfigurationError(f"{settings.url}: {error}") from error
    except ValueError as error:
        raise ConfigurationError(f"{settings.url}: the endpoint is not a valid URL") from error
    require_safe_endpoint(
        client.meta.endpoint_url, allow_plaintext_loopback=settings.allow_plaintext_loopback
    )
    client.meta.events.register("before-call.s3", _mark_as_redirected)
    return client


def _mark_as_redirected(context: dict[str, Any], **_: Any) -> None:
    """Keep the library from following a region redirect: it follows only once, so say it did."""
    context.setdefault("s3_redirect", {})["redirected"] = True


def _refused(error: ClientError, subject: str, purpose: Purpose) -> VaultError:
    return answers.error_of(answers.refusal_of(error.response), subject=subject, purpose=purpose)


def _library_error(error: Exception, subject: str) -> VaultError:
    """What it means that there was no answer at all."""
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return ConfigurationError(
            f"{subject}: there are no S3 credentials",
            remedy="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile.",
        )
    if isinstance(error, ParamValidationError):
        return ConfigurationError(f"{subject}: {answers.printable(str(error))}")
    if isinstance(error, CredentialRetrievalError):
        return AccessDeniedError(f"{subject}: the S3 credentials could not be renewed")
    remedy = None
    if isinstance(error, SSLError):
        remedy = (
            "Check the server's certificate. For an authority of your own, give its certificate "
            "by --ca-bundle or AWS_CA_BUNDLE."
        )
    reason = answers.printable(str(error))
    return StoreUnreachableError(f"{subject}: the store did not answer ({reason})", remedy=remedy)


@contextlib.contextmanager
def _reading(name: str, body: Any) -> Iterator[Callable[[int], bytes]]:
    """Gives a function that reads a body of exactly so many bytes; closes the body."""

    def read(size_bytes: int) -> bytes:
        data: bytes = body.read(size_bytes)
        if len(data) != size_bytes or body.read(1):
            raise StoreUnreachableError(
                f"{name}: the answer's body has another length than its header says"
            )
        return data

    try:
        yield read
    except (BotoCoreError, HTTPError) as error:
        raise _library_error(error, name) from error
    finally:
        body.close()


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
