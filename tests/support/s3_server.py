"""A running S3 server as tests see it: endpoints, credentials, buckets, and the attacker's client.

``attacker`` is a bare boto3 client with the owner's credentials: it does what no store of ours can
express (delete versions, overwrite, shorten locks), so that tests see what the server really holds.
"""

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

ACCESS_KEY = "OWNERKEY"
SECRET_KEY = "ownersecret"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """One server on loopback. ``endpoint`` is plain http, ``tls_endpoint`` needs ``ca_path``."""

    endpoint: str
    tls_endpoint: str
    ca_path: Path
    ignores_conditional_writes: bool
    """Accepts ``If-None-Match: *`` on an existing name and writes a second version (radosgw)."""
    loses_racing_extensions: bool
    """Of two extensions of one lock at once, the earlier date may stand in the end (SeaweedFS)."""
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def environment(self, *, tls: bool = True) -> dict[str, str]:
        """The standard variables by which boto3, and so any of our programs, finds this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.tls_endpoint if tls else self.endpoint,
            "AWS_CA_BUNDLE": str(self.ca_path),
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def attacker(self) -> Any:
        """A bare client that holds the owner's credentials and may do all that S3 offers."""
        return boto3.session.Session(
            aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key
        ).client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            config=Config(
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"total_max_attempts": 3, "mode": "standard"},
            ),
        )

    def new_bucket(self, *, object_lock: bool = True) -> str:
        """Create an empty bucket of its own for a test, with Object Lock unless told otherwise."""
        name = f"vault-{next(self._numbers)}"
        self.attacker().create_bucket(Bucket=name, ObjectLockEnabledForBucket=object_lock)
        return name
