"""What the S3 store does about credentials, TLS, dead endpoints and unfit buckets."""

import hashlib
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from s3_server import S3Server
from safelight_vault.errors import (
    AccessDeniedError,
    ConfigurationError,
    LockRefusedError,
    StoreUnreachableError,
    VaultError,
)
from safelight_vault.store import LockMode, Store
from safelight_vault.store.facts import BucketFacts, facts_of
from safelight_vault.store.opening import StoreOptions, open_store
from safelight_vault.store.s3 import S3Store
from services import free_ports
from store_cases import HOUR, ONCE, PREFIX, s3_settings, s3_store, system_now

BODY = b"a body"


@pytest.fixture(scope="module", params=["seaweed", "radosgw"])
def server(request: pytest.FixtureRequest) -> S3Server:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, S3Server)
    return found


def put(store: Store, name: str = "canary/object") -> str:
    return store.put(
        name, [BODY], sha256=hashlib.sha256(BODY).digest(), retain_until=system_now() + HOUR
    )


def every_operation(store: Store) -> dict[str, Any]:
    """Each operation, to be called without arguments."""
    return {
        "put": lambda: put(store),
        "get": lambda: store.get("canary/object"),
        "get of a version": lambda: store.get("canary/object", "abc", offset=1, length=2),
        "head": lambda: store.head("canary/object"),
        "list": lambda: list(store.list_versions("")),
        "extend": lambda: store.extend("canary/object", "abc", system_now() + HOUR),
    }


def test_wrong_credentials_are_denied_and_never_read_as_absence(server: S3Server) -> None:
    store = s3_store(s3_settings(server, server.new_bucket()), server, secret_key="wrong")
    for operation in every_operation(store).values():
        with pytest.raises(AccessDeniedError):
            operation()


def test_an_absent_bucket_is_a_wrong_setting_and_never_an_absent_object(server: S3Server) -> None:
    store = s3_store(s3_settings(server, "no-such-bucket"), server)
    for operation in every_operation(store).values():
        with pytest.raises(ConfigurationError, match="no such bucket"):
            operation()
    with pytest.raises(ConfigurationError, match="no such bucket"):
        store.bucket_facts()


def test_a_bucket_without_object_lock_refuses_every_put(server: S3Server) -> None:
    store = s3_store(s3_settings(server, server.new_bucket(object_lock=False)), server)
    with pytest.raises(LockRefusedError):
        put(store)
    assert store.bucket_facts() == BucketFacts(
        object_lock=False, versioning=False, default_mode=None, default_days=None
    )
    assert list(store.list_versions("")) == []


def test_the_facts_of_a_bucket_are_read_as_they_are(server: S3Server) -> None:
    bucket = server.new_bucket()
    store = s3_store(s3_settings(server, bucket), server)
    plain = BucketFacts(object_lock=True, versioning=True, default_mode=None, default_days=None)
    assert facts_of(store) == plain
    for retention, mode, days in (
        ({"Mode": "COMPLIANCE", "Days": 35}, LockMode.COMPLIANCE, 35),
        ({"Mode": "GOVERNANCE", "Years": 2}, LockMode.GOVERNANCE, 730),
    ):
        server.attacker().put_object_lock_configuration(
            Bucket=bucket,
            ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled",
                "Rule": {"DefaultRetention": retention},
            },
        )
        assert facts_of(store) == replace(plain, default_mode=mode, default_days=days)


def test_governance_locks_hold_without_the_right_to_bypass_and_not_with_it(
    server: S3Server,
) -> None:
    bucket = server.new_bucket()
    store = s3_store(s3_settings(server, bucket, mode=LockMode.GOVERNANCE), server)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    digest = hashlib.sha256(BODY).digest()
    version_id = store.put("canary/object", [BODY], sha256=digest, retain_until=until)
    assert store.head("canary/object", version_id).lock_mode is LockMode.GOVERNANCE
    with pytest.raises(LockRefusedError):
        store.extend("canary/object", version_id, until - HOUR)
    store.extend("canary/object", version_id, until + HOUR)
    assert store.head("canary/object", version_id).retain_until == until + HOUR
    version = {
        "Bucket": bucket,
        "Key": f"{PREFIX}/canary/object",
        "VersionId": version_id,
    }
    with pytest.raises(ClientError, match="AccessDenied"):
        server.attacker().delete_object(**version)
    server.attacker().delete_object(**version, BypassGovernanceRetention=True)
    assert list(store.list_versions("")) == []


def test_a_compliance_lock_cannot_be_shortened_weakened_or_lifted_by_the_owner(
    server: S3Server,
) -> None:
    bucket = server.new_bucket()
    store = s3_store(s3_settings(server, bucket), server)
    version_id = put(store)
    locked = store.head("canary/object", version_id)
    assert locked.retain_until is not None
    for retention in (
        {"Mode": "COMPLIANCE", "RetainUntilDate": locked.retain_until - timedelta(minutes=5)},
        {"Mode": "GOVERNANCE", "RetainUntilDate": locked.retain_until},
        {},
    ):
        with pytest.raises(ClientError):
            server.attacker().put_object_retention(
                Bucket=bucket,
                Key=f"{PREFIX}/canary/object",
                VersionId=version_id,
                Retention=retention,
                BypassGovernanceRetention=True,
            )
    assert store.head("canary/object", version_id) == locked


def test_keys_that_are_no_names_and_other_vaults_are_not_listed(server: S3Server) -> None:
    bucket = server.new_bucket()
    store = s3_store(s3_settings(server, bucket), server)
    version_id = put(store)
    for key in (
        f"{PREFIX}/canary/Not A Name",
        f"{PREFIX}/canary/object@",
        f"{PREFIX}2/canary/object",
        "canary/object",
        "hospital",
    ):
        server.attacker().put_object(Bucket=bucket, Key=key, Body=b"x")
    assert [version.version_id for version in store.list_versions("")] == [version_id]


def test_a_listing_of_more_than_one_page_is_whole_and_in_order(server: S3Server) -> None:
    bucket = server.new_bucket()
    store = s3_store(s3_settings(server, bucket), server)
    attacker = server.attacker()
    expected = []
    for number in range(40):
        name = f"packs/{number % 3}/{hashlib.sha256(b'%d' % number).hexdigest()}"
        for body in (b"1", b"22") if number % 4 == 0 else (b"1",):
            answer = attacker.put_object(Bucket=bucket, Key=f"{PREFIX}/{name}", Body=body)
            expected.append((name, answer["VersionId"]))
        if number % 5 == 0:
            answer = attacker.delete_object(Bucket=bucket, Key=f"{PREFIX}/{name}")
            expected.append((name, answer["VersionId"]))
    store._client.meta.events.register(
        "before-parameter-build.s3.ListObjectVersions",
        lambda params, **_: params.update(MaxKeys=7),
    )
    listed = [(version.name, version.version_id) for version in store.list_versions("")]
    assert sorted(listed) == sorted(expected)
    assert [name for name, _ in listed] == sorted(name for name, _ in expected)


def test_an_authority_that_is_not_trusted_is_unreachable_with_advice(server: S3Server) -> None:
    settings = replace(s3_settings(server, server.new_bucket()), ca_bundle=None)
    store = s3_store(settings, server)
    with pytest.raises(StoreUnreachableError) as caught:
        store.get("canary/object")
    assert "AWS_CA_BUNDLE" in caught.value.next_step


def test_plain_http_is_refused_unless_asked_for(server: S3Server) -> None:
    settings = replace(s3_settings(server, "vault", tls=False), allow_plaintext_loopback=False)
    with pytest.raises(ConfigurationError, match="not encrypted"):
        s3_store(settings, server)


def test_plain_http_from_the_environment_is_refused_too(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment(tls=False).items():
        monkeypatch.setenv(name, value)
    settings = replace(s3_settings(server, "vault"), endpoint_url=None)
    with pytest.raises(ConfigurationError, match="not encrypted"):
        S3Store(settings, page_backoff=ONCE)


def test_the_standard_variables_alone_are_enough(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    store = open_store(
        f"s3://{server.new_bucket()}/by/environment",
        options=StoreOptions(),
        now=system_now,
        new_version_id=lambda: "unused",
        sleep=time.sleep,
        uniform=lambda low, high: low,
    )
    version_id = put(store)
    assert store.get("canary/object", version_id) == BODY
    assert store.head("canary/object", version_id).lock_mode is LockMode.COMPLIANCE
    assert facts_of(store).object_lock is True


def test_a_closed_port_is_unreachable_at_once(seaweed: S3Server) -> None:
    settings = replace(
        s3_settings(seaweed, "vault"), endpoint_url=f"https://127.0.0.1:{free_ports(1)[0]}"
    )
    _fails_within(s3_store(settings, seaweed), seconds=2)


def test_a_silent_peer_is_unreachable_after_the_time_out(seaweed: S3Server) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings = replace(
            s3_settings(seaweed, "vault"),
            endpoint_url=f"https://127.0.0.1:{silent.getsockname()[1]}",
            connect_timeout_seconds=0.2,
            read_timeout_seconds=0.2,
        )
        _fails_within(s3_store(settings, seaweed), seconds=3)


def _fails_within(store: Store, *, seconds: float) -> None:
    start = time.monotonic()
    for operation in (*every_operation(store).values(), store.now):
        with pytest.raises(StoreUnreachableError):
            operation()
    assert time.monotonic() - start < seconds


def test_a_host_without_an_address_is_unreachable(seaweed: S3Server) -> None:
    settings = replace(s3_settings(seaweed, "vault"), endpoint_url="https://vault.invalid")
    with pytest.raises(StoreUnreachableError):
        s3_store(settings, seaweed).get("canary/object")


def test_no_credentials_at_all_is_a_wrong_setting(seaweed: S3Server) -> None:
    store = S3Store(s3_settings(seaweed, "vault"), page_backoff=ONCE)
    with pytest.raises(ConfigurationError, match="credentials"):
        store.get("canary/object")


def test_an_unknown_profile_is_a_wrong_setting(seaweed: S3Server) -> None:
    with pytest.raises(ConfigurationError, match="nobody"):
        s3_store(replace(s3_settings(seaweed, "vault"), profile="nobody"), seaweed)


def test_no_error_message_holds_a_secret(server: S3Server) -> None:
    store = s3_store(s3_settings(server, server.new_bucket()), server, secret_key="very-secret")
    for operation in every_operation(store).values():
        with pytest.raises(VaultError) as caught:
            operation()
        assert "very-secret" not in caught.value.message + caught.value.next_step
