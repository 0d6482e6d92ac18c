"""What an S3 server itself says of the locks of a bucket, asked past every code of ours.

The invariant: every version of every object is asked one by one; a listing, a reference table or an
answer to a put proves nothing.
"""

from datetime import datetime
from typing import Any

from s3_server import S3Server


def all_versions(server: S3Server, bucket: str) -> list[tuple[str, str]]:
    """Key and version id of every version in a bucket; a delete marker is an error."""
    client: Any = server.attacker()
    found = []
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        if page.get("DeleteMarkers"):
            raise AssertionError(f"delete markers: {page['DeleteMarkers']}")
        found += [(version["Key"], version["VersionId"]) for version in page.get("Versions", [])]
    return found


def badly_locked(server: S3Server, bucket: str, *, until: datetime) -> list[str]:
    """The versions that are not locked in COMPLIANCE mode until at least this time, and why."""
    client: Any = server.attacker()
    found = []
    for key, version_id in all_versions(server, bucket):
        try:
            lock = client.get_object_retention(Bucket=bucket, Key=key, VersionId=version_id)
        except client.exceptions.ClientError as error:
            found.append(f"{key}: {error.response['Error']['Code']}")
            continue
        retention = lock["Retention"]
        if retention["Mode"] != "COMPLIANCE" or retention["RetainUntilDate"] < until:
            found.append(f"{key}: {retention['Mode']} until {retention['RetainUntilDate']}")
    return found
