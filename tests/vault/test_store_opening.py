"""From a URL to a store."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from safelight_vault.errors import ConfigurationError, StoreUnreachableError
from safelight_vault.store import LockMode, Store
from safelight_vault.store.directory import DirectoryStore
from safelight_vault.store.opening import StoreOptions, open_store
from safelight_vault.store.retrying import RetryingStore
from services import free_ports

NOW = datetime(2026, 11, 24, tzinfo=UTC)


class Pauses:
    """Remembers the pauses instead of making them."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def opened(url: str, pauses: Pauses | None = None, **options: Any) -> Store:
    return open_store(
        url,
        options=StoreOptions(**options),
        now=lambda: NOW,
        new_version_id=lambda: "v1",
        sleep=pauses or Pauses(),
        uniform=lambda low, high: high,
    )


def test_a_directory_is_opened_and_created_only_if_asked(tmp_path: Path) -> None:
    url = (tmp_path / "vault").as_uri()
    with pytest.raises(StoreUnreachableError):
        opened(url)
    store = opened(url, create=True)
    assert isinstance(store, DirectoryStore)
    assert store.url == url
    store.put("a", [b"x"], sha256=hashlib.sha256(b"x").digest(), retain_until=NOW + timedelta(1))
    assert opened(url).get("a", "v1") == b"x"


def test_an_odd_path_is_written_with_percent_signs(tmp_path: Path) -> None:
    path = tmp_path / "a b?c#d%e ü"
    assert opened(path.as_uri(), create=True).url == path.as_uri()
    assert (path / "@store").exists()


def test_localhost_is_this_machine(tmp_path: Path) -> None:
    opened(f"file://localhost{tmp_path}/vault", create=True)


def test_a_bucket_is_opened_with_retries() -> None:
    store = opened("s3://bucket/hospital/vault/", mode=LockMode.GOVERNANCE, region="eu-central-1")
    assert isinstance(store, RetryingStore)
    assert store.url == "s3://bucket/hospital/vault"
    assert store.lock_mode is LockMode.GOVERNANCE
    assert opened("s3://bucket").url == "s3://bucket"
    assert opened("s3://bucket").lock_mode is LockMode.COMPLIANCE


def test_a_dead_bucket_is_tried_as_often_as_the_options_say_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    pauses = Pauses()
    store = opened(
        "s3://bucket/vault",
        pauses,
        endpoint_url=f"https://127.0.0.1:{free_ports(1)[0]}",
        attempts=4,
        base_seconds=1.0,
        cap_seconds=3.0,
    )
    with pytest.raises(StoreUnreachableError):
        store.get("a")
    assert pauses.seconds == [1.0, 2.0, 3.0]
    pauses.seconds.clear()
    with pytest.raises(StoreUnreachableError):
        list(store.list_versions(""))
    assert pauses.seconds == [1.0, 2.0, 3.0], "a listing is not tried so often squared"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/vault",
        "vault",
        "file://",
        "file:vault",
        "file://server/share",
        "file://relative/path",
        "file:///srv/a?b",
        "file:///srv/a#b",
        "file:///srv/a%00b",
        "s3://",
        "s3:///prefix",
        "s3://bucket/a//b",
        "s3://bucket/../x",
        "s3://bucket/a?versionId=1",
        "s3://bucket:9000/a",
        "https://bucket.s3.amazonaws.com/",
        "sftp://host/path",
        "s3://[bucket/a",
    ],
)
def test_a_url_that_is_not_understood_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(ConfigurationError):
        opened(url)


@pytest.mark.parametrize("url", ["s3://key:hunter2@bucket/a", "file://user:hunter2@host/a"])
def test_a_password_in_a_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        opened(url)
    assert "hunter2" not in caught.value.message + caught.value.next_step


def test_plain_http_is_refused_from_options_and_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigurationError, match="not encrypted"):
        opened("s3://bucket", endpoint_url="http://127.0.0.1:1")
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, "http://storage.example.org")
            for allowed in (False, True):
                with pytest.raises(ConfigurationError, match="not encrypted"):
                    opened("s3://bucket", allow_plaintext_loopback=allowed)
