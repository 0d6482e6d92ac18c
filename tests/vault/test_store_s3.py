"""The S3 store against a peer that answers as no real server does on demand."""

import base64
import hashlib
from collections.abc import Callable, Iterator

import pytest

from safelight_vault.errors import (
    AccessDeniedError,
    ClockSkewError,
    ConfigurationError,
    CorruptError,
    LockRefusedError,
    NameTakenError,
    ObjectMissingError,
    StoreUnreachableError,
    VaultError,
)
from safelight_vault.store import LockMode
from safelight_vault.store import s3_ranges as ranges
from safelight_vault.store.backoff import Backoff
from safelight_vault.store.facts import UNKNOWN_FACTS
from safelight_vault.store.s3 import S3Store
from safelight_vault.store.s3_settings import S3Settings
from scripted_s3 import (
    BODY,
    SHA256,
    UNTIL,
    Monotonic,
    make_store,
    part,
    put,
    stored,
)
from scripted_server import Answer, ScriptedServer, s3_error, scripted_server

Asked = tuple[int, int | None]
"""Offset and length of a get."""


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def peer(server: ScriptedServer) -> Iterator[ScriptedServer]:
    server.answers.clear()
    server.requests.clear()
    yield server
    assert not server.answers, "an answer was never asked for"


@pytest.fixture(scope="module")
def store(server: ScriptedServer) -> S3Store:
    """One for the whole file: a client takes a tenth of a second to make."""
    return make_store(server, Monotonic())


@pytest.fixture
def monotonic() -> Monotonic:
    return Monotonic()


@pytest.fixture
def new_store(peer: ScriptedServer, monotonic: Monotonic) -> S3Store:
    """One that has asked nothing yet, for what a store remembers."""
    return make_store(peer, monotonic)


def test_a_put_says_everything_in_one_request(peer: ScriptedServer, store: S3Store) -> None:
    peer.answers.append(stored())
    assert put(store) == "v1"
    (request,) = peer.requests
    assert (request.method, request.path, request.body) == ("PUT", "/bucket/v/packs/a", BODY)
    expected = {
        "content-length": "10",
        "content-md5": base64.b64encode(hashlib.md5(BODY).digest()).decode(),
        "x-amz-checksum-sha256": base64.b64encode(SHA256).decode(),
        "x-amz-object-lock-mode": "COMPLIANCE",
        "x-amz-object-lock-retain-until-date": "2036-11-24T00:00:00Z",
        "if-none-match": "*",
    }
    assert {name: request.headers.get(name) for name in expected} == expected
    assert "x-amz-trailer" not in request.headers
    assert request.headers["x-amz-content-sha256"] == SHA256.hex()


def test_a_store_without_conditional_writes_is_written_to_all_the_same(
    peer: ScriptedServer, new_store: S3Store
) -> None:
    peer.answers += [s3_error(501, "NotImplemented"), stored("v1"), stored("v2")]
    assert [put(new_store), put(new_store)] == ["v1", "v2"]
    conditions = [request.headers.get("if-none-match") for request in peer.requests]
    assert conditions == ["*", None, None], "it is asked once and then remembered"
    assert all(request.body == BODY for request in peer.requests)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (s3_error(412, "PreconditionFailed"), NameTakenError),
        (s3_error(409, "ConditionalRequestConflict"), StoreUnreachableError),
        (s3_error(403, "AccessDenied"), AccessDeniedError),
        (s3_error(400, "ExpiredToken"), AccessDeniedError),
        (s3_error(403, "RequestTimeTooSkewed"), ClockSkewError),
        (s3_error(400, "InvalidRequest"), LockRefusedError),
        (s3_error(503, "SlowDown"), StoreUnreachableError),
        (s3_error(500, "InternalError"), StoreUnreachableError),
        (s3_error(400, "BadDigest"), StoreUnreachableError),
        (Answer(status=429), StoreUnreachableError),
        (Answer(status=502, body=b"<html>Bad Gateway</html>"), StoreUnreachableError),
        (Answer(), LockRefusedError),
        (stored("null"), LockRefusedError),
    ],
)
def test_a_refused_put_is_tried_once_and_says_why(
    peer: ScriptedServer, store: S3Store, answer: Answer, error: type[VaultError]
) -> None:
    peer.answers.append(answer)
    with pytest.raises(error):
        put(store)
    assert len(peer.requests) == 1


def test_a_body_with_another_digest_is_never_sent(peer: ScriptedServer, store: S3Store) -> None:
    with pytest.raises(CorruptError):
        store.put("packs/a", [BODY], sha256=bytes(32), retain_until=UNTIL)
    assert peer.requests == []


@pytest.mark.parametrize(
    ("answer", "asked", "expected"),
    [
        (Answer(body=BODY), (0, None), BODY),
        (part("bytes 2-5/10", b"2345"), (2, 4), b"2345"),
        (part("bytes 2-9/10", b"23456789"), (2, None), b"23456789"),
        (Answer(body=BODY), (2, 4), b"2345"),
        (Answer(body=BODY), (2, None), b"23456789"),
        (Answer(body=BODY), (0, 10), BODY),
        (part("bytes 0-9/10", BODY), (0, None), BODY),
    ],
)
def test_a_range_is_taken_from_a_part_or_from_the_whole(
    peer: ScriptedServer, store: S3Store, answer: Answer, asked: Asked, expected: bytes
) -> None:
    peer.answers.append(answer)
    offset, length = asked
    assert store.get("packs/a", "v1", offset=offset, length=length) == expected
    assert "versionId=v1" in peer.requests[0].path


@pytest.mark.parametrize(
    "answer",
    [
        part("bytes 3-6/10", b"3456"),
        part("bytes 2-4/10", b"234"),
        part("bytes 2-6/10", b"23456"),
        part("bytes 2-5/10", b"234"),
        part("bytes 2-5/10", b"23456"),
        part("bytes 2-5/10", b"234", declared_length=4),
        part("nonsense", b"2345"),
        Answer(status=206, body=b"2345"),
        Answer(body=BODY[:7], declared_length=10),
        Answer(status=206, headers={"content-range": "bytes 2-5/10"}, declared_length=-1),
        Answer(headers={"x-amz-version-id": "another"}, body=BODY),
        Answer(body=BODY, delay_seconds=1.0),
        Answer(status=503),
        Answer(status=404, body=b"<html>a proxy's own page</html>"),
    ],
)
def test_a_wrong_answer_to_a_range_is_unreachable_and_never_data(
    peer: ScriptedServer, store: S3Store, answer: Answer
) -> None:
    peer.answers.append(answer)
    with pytest.raises(StoreUnreachableError):
        store.get("packs/a", "v1", offset=2, length=4)


@pytest.mark.parametrize(
    "answer", [part("bytes 8-9/10", b"89"), Answer(body=BODY), s3_error(416, "InvalidRange")]
)
def test_a_range_past_the_end_is_missing_however_it_is_answered(
    peer: ScriptedServer, store: S3Store, answer: Answer
) -> None:
    peer.answers.append(answer)
    with pytest.raises(ObjectMissingError):
        store.get("packs/a", "v1", offset=8, length=4)


def test_a_store_that_ignores_ranges_cannot_make_us_read_everything(
    peer: ScriptedServer, store: S3Store
) -> None:
    peer.answers.append(Answer(body=b"x", declared_length=ranges.WHOLE_ANSWER_SIZE_MAX + 1))
    with pytest.raises(StoreUnreachableError, match="ignores ranges"):
        store.get("packs/a", "v1", offset=2, length=4)


def test_an_object_beyond_all_measure_is_not_read_whole(
    peer: ScriptedServer, store: S3Store
) -> None:
    peer.answers.append(Answer(body=b"x", declared_length=10 << 30))
    with pytest.raises(CorruptError):
        store.get("packs/a", "v1")


def test_a_head_reads_size_version_and_lock(peer: ScriptedServer, store: S3Store) -> None:
    headers = {
        "x-amz-version-id": "v1",
        "x-amz-object-lock-mode": "COMPLIANCE",
        "x-amz-object-lock-retain-until-date": "2036-11-24T00:00:00Z",
    }
    peer.answers.append(Answer(headers=headers, declared_length=10))
    head = store.head("packs/a")
    assert (head.version_id, head.size_bytes) == ("v1", 10)
    assert (head.lock_mode, head.retain_until) == (LockMode.COMPLIANCE, UNTIL)


def test_a_date_that_is_none_is_an_unreadable_answer(peer: ScriptedServer, store: S3Store) -> None:
    headers = {
        "x-amz-object-lock-mode": "COMPLIANCE",
        "x-amz-object-lock-retain-until-date": "when pigs fly",
    }
    peer.answers.append(Answer(headers=headers, declared_length=10))
    with pytest.raises(StoreUnreachableError):
        store.head("packs/a")


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        (Answer(status=404), s3_error(404, "NoSuchKey"), ObjectMissingError),
        (Answer(status=404), s3_error(404, "NoSuchBucket"), ConfigurationError),
        (Answer(status=404), Answer(status=404), StoreUnreachableError),
        (Answer(status=400), s3_error(400, "ExpiredToken"), AccessDeniedError),
        (Answer(status=403), s3_error(403, "AccessDenied"), AccessDeniedError),
        (Answer(status=405), s3_error(405, "MethodNotAllowed"), ObjectMissingError),
        (Answer(status=404), part("bytes 0-0/10", b"0"), StoreUnreachableError),
        (Answer(status=503), None, StoreUnreachableError),
    ],
)
def test_a_refused_head_is_explained_by_a_small_get(
    peer: ScriptedServer,
    store: S3Store,
    first: Answer,
    second: Answer | None,
    error: type[VaultError],
) -> None:
    peer.answers += [first] if second is None else [first, second]
    with pytest.raises(error):
        store.head("packs/a", "v1")


OPERATIONS: dict[str, Callable[[S3Store], object]] = {
    "get": lambda store: store.get("packs/a"),
    "put": put,
    "head": lambda store: store.head("packs/a"),
    "list": lambda store: list(store.list_versions("")),
    "extend": lambda store: store.extend("packs/a", "v1", UNTIL),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed_to_another_host(
    peer: ScriptedServer, store: S3Store, operation: str, status: int
) -> None:
    with scripted_server() as elsewhere:
        headers = {
            "location": f"{elsewhere.url}/bucket/v/packs/a",
            "x-amz-bucket-region": "eu-central-1",
        }
        redirect = s3_error(status, "PermanentRedirect", **headers)
        peer.answers += [redirect] * (2 if operation == "head" else 1)
        with pytest.raises(ConfigurationError, match="eu-central-1"):
            OPERATIONS[operation](store)
        assert elsewhere.requests == []
        assert all("/bucket/v" in r.path or "?versions" in r.path for r in peer.requests)


def test_settings_that_may_not_be_read_are_unknown(peer: ScriptedServer, store: S3Store) -> None:
    peer.answers += [s3_error(403, "AccessDenied"), s3_error(501, "NotImplemented")]
    assert store.bucket_facts() == UNKNOWN_FACTS


def test_wrong_credentials_are_no_unknown_settings(peer: ScriptedServer, store: S3Store) -> None:
    peer.answers.append(s3_error(403, "InvalidAccessKeyId"))
    with pytest.raises(AccessDeniedError):
        store.bucket_facts()


@pytest.mark.parametrize("url", ["not a url", "https://", "https://bad host"])
def test_an_endpoint_that_is_no_url_is_refused(url: str) -> None:
    once = Backoff(
        attempts=1, base_seconds=0, cap_seconds=0, sleep=lambda s: None, uniform=lambda a, b: a
    )
    with pytest.raises(ConfigurationError):
        S3Store(S3Settings(bucket="bucket", endpoint_url=url), page_backoff=once)


def test_a_vault_has_a_url_without_secrets(store: S3Store) -> None:
    assert store.url == "s3://bucket/v"
    assert S3Settings(bucket="bucket").url == "s3://bucket"
    assert store.lock_mode is LockMode.COMPLIANCE
