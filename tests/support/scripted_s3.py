"""An S3 store whose peer answers by script, and the answers that such scripts are made of."""

import hashlib
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from safelight_vault.store.backoff import Backoff
from safelight_vault.store.s3 import S3Store
from safelight_vault.store.s3_settings import S3Settings
from scripted_server import Answer, ScriptedServer

BODY = b"0123456789"
SHA256 = hashlib.sha256(BODY).digest()
UNTIL = datetime(2036, 11, 24, tzinfo=UTC)
DATE = datetime(2026, 11, 24, 5, 6, 7, tzinfo=UTC)


class Monotonic:
    """A clock that a test moves."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def make_store(server: ScriptedServer, monotonic: Monotonic) -> S3Store:
    settings = S3Settings(
        bucket="bucket",
        prefix="v",
        endpoint_url=server.url,
        allow_plaintext_loopback=True,
        connect_timeout_seconds=0.5,
        read_timeout_seconds=0.5,
    )
    backoff = Backoff(
        attempts=3,
        base_seconds=0.0,
        cap_seconds=0.0,
        sleep=lambda seconds: None,
        uniform=lambda low, high: low,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        return S3Store(settings, page_backoff=backoff, monotonic=monotonic)


def put(store: S3Store) -> str:
    return store.put("packs/a", [BODY[:4], BODY[4:]], sha256=SHA256, retain_until=UNTIL)


def stored(version_id: str = "v1") -> Answer:
    return Answer(headers={"x-amz-version-id": version_id})


def part(content_range: str, body: bytes, **more: Any) -> Answer:
    return Answer(status=206, headers={"content-range": content_range}, body=body, **more)


def listing(*entries: str, more: str = "<IsTruncated>false</IsTruncated>") -> Answer:
    xml = f"<?xml version='1.0'?><ListVersionsResult>{more}{''.join(entries)}</ListVersionsResult>"
    return Answer(body=xml.encode(), headers={"content-type": "application/xml"})


def line(key: str, version_id: str = "v1") -> str:
    return (
        f"<Version><Key>{key}</Key><VersionId>{version_id}</VersionId><IsLatest>true</IsLatest>"
        "<LastModified>2026-11-24T05:06:07.000Z</LastModified><Size>10</Size></Version>"
    )


def more(key: str) -> str:
    return f"<IsTruncated>true</IsTruncated><NextKeyMarker>{key}</NextKeyMarker>"


def dated(date: datetime, **more_headers: str) -> Answer:
    return Answer(headers={"date": format_datetime(date, usegmt=True), **more_headers})
