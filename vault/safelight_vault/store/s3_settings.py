"""Where an S3 vault lies and how it is reached: settings, checked before anything is sent.

The invariant: credentials and ciphertext travel by TLS. The one exception is a server on this very
machine, and only when it was asked for by name.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from safelight_vault.errors import ConfigurationError
from safelight_vault.store import NAME_LENGTH_MAX, LockMode

PREFIX_LENGTH_MAX = 1024 - NAME_LENGTH_MAX - 1
"""S3 allows keys of 1024 bytes: prefix, slash, name."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """Bucket, prefix and connection. What is None comes from the standard AWS variables and files.

    ``mode`` is COMPLIANCE or GOVERNANCE. ``ca_bundle`` is a PEM file of authorities to trust
    instead of the public ones.
    """

    bucket: str
    prefix: str = ""
    mode: LockMode = LockMode.COMPLIANCE
    endpoint_url: str | None = None
    region: str | None = None
    ca_bundle: Path | None = None
    profile: str | None = None
    allow_plaintext_loopback: bool = False
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket):
            raise ConfigurationError(f"not a bucket's name: {self.bucket!r}")
        if self.prefix and (
            not _PREFIX.fullmatch(self.prefix)
            or len(self.prefix) > PREFIX_LENGTH_MAX
            or not {".", ".."}.isdisjoint(self.prefix.split("/"))
        ):
            raise ConfigurationError(
                f"not a prefix for a vault: {self.prefix!r}",
                remedy="Use letters, digits, '.', '_' and '-', with single slashes between parts.",
            )
        if self.mode not in {LockMode.COMPLIANCE, LockMode.GOVERNANCE}:
            raise ConfigurationError(f"an S3 vault cannot lock in mode {self.mode.value!r}")
        if self.ca_bundle is not None and not self.ca_bundle.is_file():
            raise ConfigurationError(f"the CA bundle is not a file: {self.ca_bundle}")
        if min(self.connect_timeout_seconds, self.read_timeout_seconds) <= 0:
            raise ConfigurationError("time-outs must be longer than zero seconds")

    @property
    def url(self) -> str:
        """The vault's URL, which holds no secret."""
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"

    @property
    def key_root(self) -> str:
        """What stands before a name in an object's key."""
        return f"{self.prefix}/" if self.prefix else ""


def require_safe_endpoint(url: str, *, allow_plaintext_loopback: bool) -> None:
    """Refuse an endpoint without TLS (``ConfigurationError``), wherever its URL came from."""
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            "the S3 endpoint's URL contains a user or password",
            remedy="Give credentials by the AWS variables or files, never in a URL.",
        )
    if parts.scheme == "https":
        return
    if parts.scheme != "http":
        raise ConfigurationError(f"the S3 endpoint must be an https:// URL: {url}")
    if not (allow_plaintext_loopback and _is_loopback(parts.hostname or "")):
        raise ConfigurationError(
            f"the S3 endpoint {url} is not encrypted",
            remedy="Use its https:// URL, with --ca-bundle or AWS_CA_BUNDLE for an authority of "
            "your own. Plain http is possible only to this machine, with the setting for it.",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
