"""Listings and the clock of the S3 store against a peer that answers by script."""

from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime

import pytest

from safelight_vault.errors import (
    StoreUnreachableError,
)
from safelight_vault.store.s3 import CLOCK_AGE_SECONDS_MAX, S3Store
from scripted_s3 import DATE, Monotonic, dated, line, listing, make_store, more, put
from scripted_server import Answer, ScriptedServer, s3_error, scripted_server


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def peer(server: ScriptedServer) -> Iterator[ScriptedServer]:
    server.answers.clear()
    server.requests.clear()
    yield server
    assert not server.answers, "an answer was never asked for"


@pytest.fixture(scope="module")
def store(server: ScriptedServer) -> S3Store:
    """One for the whole file: a client takes a tenth of a second to make."""
    return make_store(server, Monotonic())


@pytest.fixture
def monotonic() -> Monotonic:
    return Monotonic()


@pytest.fixture
def new_store(peer: ScriptedServer, monotonic: Monotonic) -> S3Store:
    """One that has asked nothing yet, for what a store remembers."""
    return make_store(peer, monotonic)


def test_a_page_that_fails_is_asked_for_again_and_no_other(
    peer: ScriptedServer, store: S3Store
) -> None:
    peer.answers += [
        listing(line("v/a"), more=more("v/a")),
        Answer(status=503),
        Answer(status=500),
        listing(line("v/b")),
    ]
    assert [version.name for version in store.list_versions("")] == ["a", "b"]
    assert ["key-marker=v%2Fa" in request.path for request in peer.requests] == [
        False,
        True,
        True,
        True,
    ]


def test_a_page_that_keeps_failing_ends_the_listing_with_an_error(
    peer: ScriptedServer, store: S3Store
) -> None:
    peer.answers += [listing(line("v/a"), more=more("v/a")), *[Answer(status=503)] * 3]
    with pytest.raises(StoreUnreachableError):
        list(store.list_versions(""))


@pytest.mark.parametrize(
    "second",
    [
        listing(line("v/b"), more=more("v/a")),
        listing(line("v/b"), more="<IsTruncated>true</IsTruncated>"),
        listing(line("elsewhere/b")),
        Answer(body=b"<ListVersionsResult><IsTruncated>true</Is"),
    ],
)
def test_a_listing_never_loops_nor_ends_early_in_silence(
    peer: ScriptedServer, store: S3Store, second: Answer
) -> None:
    is_unreadable = b"</Is" in second.body[-5:]
    peer.answers += [
        listing(line("v/a"), more=more("v/a")),
        *[second] * (3 if is_unreadable else 1),
    ]
    with pytest.raises(StoreUnreachableError):
        list(store.list_versions(""))


def test_the_clock_is_the_latest_answers_date_and_moves_on_by_itself(
    peer: ScriptedServer, new_store: S3Store, monotonic: Monotonic
) -> None:
    peer.answers.append(dated(DATE, **{"x-amz-version-id": "v1"}))
    put(new_store)
    monotonic.seconds += 20
    assert new_store.now() == DATE + timedelta(seconds=20)
    assert len(peer.requests) == 1


def test_an_old_reading_of_the_clock_is_replaced_by_asking(
    peer: ScriptedServer, new_store: S3Store, monotonic: Monotonic
) -> None:
    later = DATE + timedelta(hours=1)
    peer.answers += [dated(DATE), dated(later)]
    assert new_store.now() == DATE
    monotonic.seconds += CLOCK_AGE_SECONDS_MAX + 1
    assert new_store.now() == later
    assert [request.method for request in peer.requests] == ["HEAD", "HEAD"]


def test_a_refusal_tells_the_time_too(peer: ScriptedServer, new_store: S3Store) -> None:
    denied = s3_error(403, "AccessDenied", date=format_datetime(DATE, usegmt=True))
    peer.answers.append(denied)
    assert new_store.now() == DATE


def test_a_store_that_tells_no_time_is_no_clock(peer: ScriptedServer, new_store: S3Store) -> None:
    peer.answers += [Answer(), Answer(headers={"date": "soon"})]
    for _ in range(2):
        with pytest.raises(StoreUnreachableError, match="no date"):
            new_store.now()
