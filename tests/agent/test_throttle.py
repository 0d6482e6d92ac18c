"""Rate limits, on a clock that the test moves."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight_agent.throttle import BURST_SECONDS, RateLimit


class Clock:
    """A clock that goes forward only while somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.sleeps: list[float] = []

    def read(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.seconds += seconds


def limit(clock: Clock, bytes_per_second: int) -> RateLimit:
    return RateLimit(bytes_per_second, clock=clock.read, sleep=clock.sleep)


def test_zero_means_no_limit() -> None:
    clock = Clock()
    unlimited = limit(clock, 0)
    for _ in range(10):
        unlimited.take(10**12)
    assert clock.sleeps == []


def test_a_negative_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        limit(Clock(), -1)


def test_one_second_of_bytes_passes_at_once_and_the_next_waits() -> None:
    clock = Clock()
    limited = limit(clock, 100)
    limited.take(60)
    limited.take(40)
    assert clock.sleeps == []
    limited.take(50)
    assert clock.sleeps == [0.5]


def test_an_idle_hour_does_not_save_up_more_than_one_second() -> None:
    clock = Clock()
    limited = limit(clock, 100)
    clock.seconds += 3600
    limited.take(100)
    assert clock.sleeps == []
    limited.take(100)
    assert clock.sleeps == [1.0]


def test_a_piece_larger_than_the_bucket_passes_and_is_paid_for() -> None:
    clock = Clock()
    limited = limit(clock, 100)
    limited.take(1000)
    limited.take(100)
    assert clock.seconds - 1000.0 == pytest.approx(10.0)


@given(
    rate=st.integers(1, 10**9),
    pieces=st.lists(st.tuples(st.integers(0, 10**10), st.floats(0, 100)), max_size=50),
)
def test_never_more_passes_than_the_rate_allows(rate: int, pieces: list[tuple[int, float]]) -> None:
    clock = Clock()
    limited = limit(clock, rate)
    passed_bytes = 0
    for size_bytes, pause_seconds in pieces:
        clock.seconds += pause_seconds
        limited.take(size_bytes)
        passed_bytes += size_bytes
        allowed_bytes = (clock.seconds - 1000.0 + BURST_SECONDS) * rate
        assert passed_bytes <= allowed_bytes * (1 + 1e-9) + 1


def test_threads_share_one_limit() -> None:
    limited = RateLimit(1_000_000, clock=time.monotonic, sleep=time.sleep)
    began = time.monotonic()

    def take_six() -> None:
        for _ in range(6):
            limited.take(50_000)

    threads = [threading.Thread(target=take_six) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 1.2 MB at 1 MB/s, of which 1 MB are in the bucket.
    assert time.monotonic() - began >= 0.19


def test_a_stop_ends_the_waiting() -> None:
    stop = threading.Event()
    limited = RateLimit(1, clock=time.monotonic, sleep=stop.wait)
    waiting = threading.Thread(target=limited.take, args=(1_000,))
    waiting.start()
    stop.set()
    waiting.join(timeout=10)
    assert not waiting.is_alive()
