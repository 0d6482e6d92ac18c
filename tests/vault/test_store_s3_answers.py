"""What S3's answers mean."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight_vault.errors import (
    AccessDeniedError,
    ClockSkewError,
    ConfigurationError,
    CorruptError,
    LockRefusedError,
    NameTakenError,
    ObjectMissingError,
    RefusedError,
    StoreUnreachableError,
    VaultError,
)
from safelight_vault.store import LockMode
from safelight_vault.store.facts import BucketFacts
from safelight_vault.store.s3_answers import (
    MarkerTrail,
    Purpose,
    Refusal,
    error_of,
    facts_from,
    lock_of,
    parse_http_date,
    refusal_of,
    versions_of,
)
from safelight_vault.store.s3_ranges import ContentRange, parse_content_range

DATE = datetime(2026, 11, 24, 5, 6, 7, tzinfo=UTC)


def error(status: int, code: str, purpose: Purpose = Purpose.READ) -> VaultError:
    refusal = Refusal(status=status, code=code, message="the server's words")
    return error_of(refusal, subject="packs/a", purpose=purpose)


@pytest.mark.parametrize(
    ("status", "code", "purpose", "expected"),
    [
        (403, "AccessDenied", Purpose.READ, AccessDeniedError),
        (403, "AccessDenied", Purpose.PUT, AccessDeniedError),
        (403, "AccessDenied", Purpose.LIST, AccessDeniedError),
        (403, "AccessDenied", Purpose.EXTEND, LockRefusedError),
        (403, "InvalidAccessKeyId", Purpose.EXTEND, AccessDeniedError),
        (403, "SignatureDoesNotMatch", Purpose.EXTEND, AccessDeniedError),
        (400, "ExpiredToken", Purpose.EXTEND, AccessDeniedError),
        (403, "SomethingNew", Purpose.READ, AccessDeniedError),
        (403, "RequestTimeTooSkewed", Purpose.PUT, ClockSkewError),
        (404, "NoSuchKey", Purpose.READ, ObjectMissingError),
        (404, "NoSuchVersion", Purpose.EXTEND, ObjectMissingError),
        (405, "MethodNotAllowed", Purpose.READ, ObjectMissingError),
        (400, "InvalidArgument", Purpose.READ, ObjectMissingError),
        (416, "InvalidRange", Purpose.READ, ObjectMissingError),
        (404, "NoSuchBucket", Purpose.READ, ConfigurationError),
        (404, "404", Purpose.READ, StoreUnreachableError),
        (404, "404", Purpose.LIST, StoreUnreachableError),
        (412, "PreconditionFailed", Purpose.PUT, NameTakenError),
        (409, "ConditionalRequestConflict", Purpose.PUT, StoreUnreachableError),
        (409, "OperationAborted", Purpose.PUT, StoreUnreachableError),
        (400, "InvalidRequest", Purpose.PUT, LockRefusedError),
        (400, "InvalidArgument", Purpose.EXTEND, LockRefusedError),
        (400, "InvalidRequest", Purpose.READ, RefusedError),
        (400, "EntityTooLarge", Purpose.PUT, RefusedError),
        (400, "BadDigest", Purpose.PUT, StoreUnreachableError),
        (400, "RequestTimeout", Purpose.PUT, StoreUnreachableError),
        (429, "TooManyRequests", Purpose.PUT, StoreUnreachableError),
        (500, "InternalError", Purpose.EXTEND, StoreUnreachableError),
        (503, "SlowDown", Purpose.READ, StoreUnreachableError),
        (599, "", Purpose.READ, StoreUnreachableError),
        (501, "NotImplemented", Purpose.EXTEND, ConfigurationError),
        (301, "PermanentRedirect", Purpose.READ, ConfigurationError),
        (307, "TemporaryRedirect", Purpose.PUT, ConfigurationError),
        (302, "302", Purpose.READ, ConfigurationError),
        (400, "AuthorizationHeaderMalformed", Purpose.LIST, ConfigurationError),
        (418, "Teapot", Purpose.READ, RefusedError),
    ],
)
def test_a_refusal_becomes_the_error_by_what_to_do_next(
    status: int, code: str, purpose: Purpose, expected: type[VaultError]
) -> None:
    found = error(status, code, purpose)
    assert type(found) is expected
    assert "packs/a" in found.message
    assert "the server's words" in found.message


@given(st.integers(300, 599), st.text(max_size=30), st.sampled_from(Purpose))
def test_no_refusal_whatever_it_says_is_damage_or_crashes(
    status: int, code: str, purpose: Purpose
) -> None:
    found = error(status, code, purpose)
    assert not isinstance(found, CorruptError) or isinstance(found, ObjectMissingError)
    assert found.message.isprintable()


def test_a_server_cannot_flood_or_garble_the_message() -> None:
    refusal = Refusal(status=400, code="X", message="a\x1b[31m\n" * 10_000)
    found = error_of(refusal, subject="packs/a", purpose=Purpose.READ)
    assert len(found.message) < 500
    assert found.message.isprintable()


def test_another_region_is_named() -> None:
    response = {
        "Error": {"Code": "PermanentRedirect", "Message": None},
        "ResponseMetadata": {
            "HTTPStatusCode": 301,
            "HTTPHeaders": {"x-amz-bucket-region": "eu-central-1"},
        },
    }
    found = error_of(refusal_of(response), subject="packs/a", purpose=Purpose.READ)
    assert "eu-central-1" in found.message
    assert "region" in found.next_step


def test_an_answer_without_anything_is_still_a_refusal() -> None:
    assert refusal_of({}).status == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes 0-9/10", ContentRange(0, 9, 10)),
        ("bytes 5-5/10", ContentRange(5, 5, 10)),
        ("bytes 5-4/10", None),
        ("bytes 0-10/10", None),
        ("bytes 0-9/*", None),
        ("bytes */10", None),
        ("items 0-9/10", None),
        ("bytes 0-9/10 ", None),
        ("bytes 0-9/99999999999999999999", None),
        ("", None),
    ],
)
def test_a_content_range_is_understood_or_nothing(text: str, expected: ContentRange | None) -> None:
    assert parse_content_range(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tue, 24 Nov 2026 05:06:07 GMT", DATE),
        ("Tue, 24 Nov 2026 06:06:07 +0100", DATE),
        ("Tue, 24 Nov 2026 05:06:07 -0000", None),
        ("yesterday", None),
        ("", None),
        ("Tue, 99 Nov 2026 05:06:07 GMT", None),
    ],
)
def test_a_date_header_is_understood_or_nothing(text: str, expected: datetime | None) -> None:
    assert parse_http_date(text) == expected


@given(st.text(max_size=40))
def test_no_date_header_can_crash(text: str) -> None:
    parse_http_date(text)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": DATE},
            (LockMode.COMPLIANCE, DATE),
        ),
        (
            {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": DATE},
            (LockMode.GOVERNANCE, DATE),
        ),
        ({}, (LockMode.NONE, None)),
        ({"ObjectLockMode": "COMPLIANCE"}, (LockMode.NONE, None)),
        ({"ObjectLockRetainUntilDate": DATE}, (LockMode.NONE, None)),
        (
            {"ObjectLockMode": "SOMEDAY", "ObjectLockRetainUntilDate": DATE},
            (LockMode.NONE, None),
        ),
        (
            {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": "soon"},
            (LockMode.NONE, None),
        ),
    ],
)
def test_half_a_lock_is_none(answer: dict[str, Any], expected: object) -> None:
    assert lock_of(answer) == expected


def test_what_a_bucket_does_not_tell_is_unknown_and_never_a_pass() -> None:
    assert facts_from(lock=None, versioning=None) == BucketFacts(
        object_lock=None, versioning=None, default_mode=None, default_days=None
    )
    assert facts_from(lock={}, versioning={}) == BucketFacts(
        object_lock=False, versioning=False, default_mode=None, default_days=None
    )
    suspended = facts_from(lock={}, versioning={"Status": "Suspended"})
    assert suspended.versioning is False


def entry(key: str, version_id: str, *, latest: bool, second: int = 0) -> dict[str, Any]:
    return {
        "Key": key,
        "VersionId": version_id,
        "IsLatest": latest,
        "Size": 5,
        "LastModified": DATE + timedelta(seconds=second),
    }


def test_versions_and_markers_of_a_page_are_merged_in_order() -> None:
    page = {
        "Versions": [
            entry("v/b", "b1", latest=True),
            entry("v/a", "a1", latest=False, second=1),
            entry("v/a", "a0", latest=False, second=0),
        ],
        "DeleteMarkers": [entry("v/a", "a2", latest=True, second=1)],
    }
    found = versions_of(page, key_root="v/", prefix="")
    assert [(version.name, version.version_id) for version in found] == [
        ("a", "a2"),
        ("a", "a1"),
        ("a", "a0"),
        ("b", "b1"),
    ]
    assert [version.is_delete_marker for version in found] == [True, False, False, False]
    assert [version.size_bytes for version in found] == [0, 5, 5, 5]


@pytest.mark.parametrize("key", ["v/other", "w/packs/a", "", "V/packs/a"])
def test_a_key_that_was_not_asked_for_discredits_the_answer(key: str) -> None:
    with pytest.raises(StoreUnreachableError):
        versions_of({"Versions": [entry(key, "1", latest=True)]}, key_root="v/", prefix="packs/")


@pytest.mark.parametrize("key", ["v/packs/UPPER", "v/packs/../x", "v/packs/", "v/packs/a//b"])
def test_a_key_that_is_no_name_is_passed_over(key: str) -> None:
    page = {"Versions": [entry(key, "1", latest=True), entry("v/packs/a", "2", latest=True)]}
    (found,) = versions_of(page, key_root="v/", prefix="packs/")
    assert found.name == "packs/a"


def test_a_version_without_an_id_or_date_is_listed_as_such() -> None:
    (found,) = versions_of({"Versions": [{"Key": "a"}]}, key_root="", prefix="")
    assert (found.version_id, found.size_bytes, found.is_latest) == ("null", 0, False)


def page(key: str | None, version_id: str | None = None, *, more: bool = True) -> dict[str, Any]:
    return {"IsTruncated": more, "NextKeyMarker": key, "NextVersionIdMarker": version_id}


def test_a_listing_moves_from_marker_to_marker_and_ends() -> None:
    trail = MarkerTrail()
    for key, version_id in (("a", "2"), ("a", "1"), ("b", ""), ("c", "9")):
        marker = trail.next_marker(page(key, version_id), subject="listing")
        assert marker is not None
        assert (marker.key, marker.version_id) == (key, version_id)
    assert trail.next_marker(page(None, more=False), subject="listing") is None


@pytest.mark.parametrize(
    "pages",
    [
        [page(None)],
        [page("")],
        [page("a", "1"), page("a", "1")],
        [page("a", "1"), page("a", "2"), page("a", "1")],
        [page("b"), page("a")],
        [page("b"), page("b")],
    ],
)
def test_a_listing_that_does_not_move_on_is_broken_off(pages: list[dict[str, Any]]) -> None:
    trail = MarkerTrail()
    for each in pages[:-1]:
        trail.next_marker(each, subject="listing")
    with pytest.raises(StoreUnreachableError, match="move on"):
        trail.next_marker(pages[-1], subject="listing")
