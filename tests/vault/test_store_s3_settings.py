"""Where an S3 vault may lie, and that it is reached by TLS."""

from pathlib import Path
from typing import Any

import pytest

from safelight_vault.errors import (
    ConfigurationError,
)
from safelight_vault.store import LockMode
from safelight_vault.store.s3_settings import S3Settings, require_safe_endpoint


@pytest.mark.parametrize(
    "changes",
    [
        {"bucket": ""},
        {"bucket": "a/b"},
        {"bucket": "-a"},
        {"prefix": "/a"},
        {"prefix": "a//b"},
        {"prefix": "a/../b"},
        {"prefix": "a b"},
        {"prefix": "a" * 600},
        {"mode": LockMode.NONE},
        {"mode": LockMode.EMULATED},
        {"ca_bundle": Path("/no/such/file.pem")},
        {"connect_timeout_seconds": 0.0},
        {"read_timeout_seconds": -1.0},
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        S3Settings(**{"bucket": "bucket", **changes})


@pytest.mark.parametrize(
    ("url", "allowed", "is_safe"),
    [
        ("https://s3.eu-central-1.amazonaws.com", False, True),
        ("https://10.0.0.1:9000", False, True),
        ("http://127.0.0.1:8333", True, True),
        ("http://127.0.0.1:8333", False, False),
        ("http://localhost:8333", True, True),
        ("http://[::1]:8333", True, True),
        ("http://127.0.0.1.example.org", True, False),
        ("http://localhost.example.org", True, False),
        ("http://10.0.0.1:9000", True, False),
        ("http://0.0.0.0:9000", True, False),
        ("ftp://127.0.0.1", True, False),
        ("127.0.0.1:8333", True, False),
    ],
)
def test_only_tls_is_safe_but_on_this_machine_if_allowed(
    url: str, allowed: bool, is_safe: bool
) -> None:
    if is_safe:
        require_safe_endpoint(url, allow_plaintext_loopback=allowed)
        return
    with pytest.raises(ConfigurationError):
        require_safe_endpoint(url, allow_plaintext_loopback=allowed)


def test_an_endpoint_with_a_password_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        require_safe_endpoint("https://user:hunter2@host", allow_plaintext_loopback=False)
    assert "hunter2" not in caught.value.message
