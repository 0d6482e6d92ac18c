"""What goes wrong on the wire between the S3 store and a real server, played by a proxy.

A line that recovers costs only retries; one that does not, or an answer that cannot be right, ends
the run by name. Nothing is believed, followed or published that should not be.
"""

import zlib
from collections.abc import Iterator
from random import Random

import pytest

from agent_runs import Site, fill_archive, new_site
from faulty_proxy import Damage, FaultyProxy, WireFault, faulty_proxy
from installed_agent import SYSTEM_CLOCK
from invariants import Invariants
from s3_server import S3Server
from safelight_vault.errors import (
    AccessDeniedError,
    ConfigurationError,
    LockRefusedError,
    StoreUnreachableError,
)
from safelight_vault.store import Store
from safelight_vault.store.opening import StoreOptions, open_store
from store_cases import PREFIX, s3_settings, s3_store

ATTEMPTS = 4


@pytest.fixture(scope="module")
def proxy(seaweed: S3Server) -> Iterator[FaultyProxy]:
    """A proxy before a real server."""
    with faulty_proxy(seaweed.endpoint) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def module_site(seaweed: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site whose own way to the server is without faults."""
    store = s3_store(s3_settings(seaweed, seaweed.new_bucket()), seaweed)
    site = new_site(tmp_path_factory.mktemp("wire"), store=store, clock=SYSTEM_CLOCK)
    assert site.run().complete
    return site


@pytest.fixture
def site(module_site: Site, request: pytest.FixtureRequest) -> Site:
    """The one vault of this module, and an archive that has changed since its last snapshot."""
    fill_archive(module_site.archive, slices=3, seed=zlib.crc32(request.node.name.encode()))
    return module_site


def store_behind(proxy: FaultyProxy, server: S3Server, site: Site) -> Store:
    """The site's bucket through the proxy, opened as the agent opens it, but for the waiting."""
    proxy.requests.clear()
    proxy.strayed = 0
    bucket = site.store.url.removeprefix("s3://").partition("/")[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        return open_store(
            f"s3://{bucket}/{PREFIX}",
            options=StoreOptions(
                endpoint_url=proxy.url,
                region="us-east-1",
                allow_plaintext_loopback=True,
                connect_timeout_seconds=2.0,
                read_timeout_seconds=1.0,
                attempts=ATTEMPTS,
            ),
            now=SYSTEM_CLOCK.now,
            new_version_id=lambda: "unused",
            sleep=lambda seconds: None,
            uniform=Random(40).uniform,
        )


PASSING = [
    WireFault(damage=Damage.REFUSE, method="PUT", part="/packs/"),
    WireFault(damage=Damage.REFUSE, method="GET", part="versions", status=500, code="Internal"),
    WireFault(damage=Damage.REFUSE, method="GET", part="/config/", status=429, code="SlowDown"),
    WireFault(damage=Damage.RESET, method="PUT", part="/packs/", nth=3),
    WireFault(damage=Damage.RESET, method="HEAD", part="/packs/"),
    WireFault(damage=Damage.LOSE_ANSWER, method="PUT", part="/packs/", nth=4),
    WireFault(damage=Damage.LOSE_ANSWER, method="PUT", part="/snapshots/"),
    WireFault(damage=Damage.HANG, method="PUT", part="/index/"),
    WireFault(damage=Damage.CUT_BODY, method="GET", part="/config/", nth=2),
    WireFault(damage=Damage.CORRUPT_BODY, method="GET", part="/agents/"),
    WireFault(damage=Damage.OLD_BODY, method="GET", part="/snapshots/"),
]


def test_faults_39_40_42_44_45_59_a_bad_line_costs_only_retries(
    proxy: FaultyProxy, seaweed: S3Server, site: Site
) -> None:
    before = Invariants(site)
    proxy.faults = list(PASSING)
    result = site.run(store=store_behind(proxy, seaweed, site))
    assert result.complete, result.error
    proxy.verify_all_faults_happened()
    before.hold(result)
    before.next_run()


def test_fault_48_no_object_is_ever_put_in_parts(
    proxy: FaultyProxy, seaweed: S3Server, site: Site
) -> None:
    (site.archive / "long-series.bin").write_bytes(Random(48).randbytes(9 << 20))
    before = Invariants(site)
    proxy.faults = []
    result = site.run(store=store_behind(proxy, seaweed, site))
    assert result.complete
    assert result.bytes_stored > 8 << 20
    puts = [request for request in proxy.requests if request.startswith(("PUT", "POST"))]
    assert puts
    assert not [request for request in puts if "uploads" in request or "partNumber" in request]
    before.hold(result)


LASTING = {
    "39-slow-down-for-ever": (
        WireFault(damage=Damage.REFUSE, method="PUT", part="/packs/", times=None),
        StoreUnreachableError,
    ),
    "40-resets-for-ever": (
        WireFault(damage=Damage.RESET, method="HEAD", part="/packs/", times=None),
        StoreUnreachableError,
    ),
    "41-an-error-under-status-200": (
        WireFault(damage=Damage.HIDDEN_ERROR, method="PUT", part="/packs/", times=None),
        StoreUnreachableError,
    ),
    "44-bodies-cut-for-ever": (
        WireFault(damage=Damage.CUT_BODY, method="GET", part="/config/", times=None),
        StoreUnreachableError,
    ),
    "49-credentials-expire": (
        WireFault(
            damage=Damage.REFUSE,
            method="PUT",
            part="/packs/",
            nth=2,
            times=None,
            status=403,
            code="ExpiredToken",
        ),
        AccessDeniedError,
    ),
    "51-sent-to-another-host": (
        WireFault(damage=Damage.REDIRECT, method="PUT", part="/packs/", times=None, status=307),
        ConfigurationError,
    ),
    "52-locks-are-not-reported": (
        WireFault(damage=Damage.HIDE_LOCK, method="HEAD", part="/packs/", times=None),
        LockRefusedError,
    ),
}


@pytest.mark.parametrize("case", LASTING)
def test_fault_that_lasts(proxy: FaultyProxy, seaweed: S3Server, site: Site, case: str) -> None:
    fault, expected = LASTING[case]
    before = Invariants(site)
    proxy.faults = [fault]
    result = site.run(store=store_behind(proxy, seaweed, site))
    proxy.verify_all_faults_happened()
    assert result.exit_code == expected.exit_code, result.error
    assert not result.snapshot
    tries = [request for request in proxy.requests if request.startswith(fault.method)]
    assert len(tries) < 60, "the number of tries is bounded"
    assert proxy.strayed == 0, "credentials never follow a redirect"
    before.hold(result)
