"""End-to-end tests: the full sizes run only when they are asked for."""

import os

import pytest

from services import REQUIRE_SERVICES

FULL = "SAFELIGHT_FULL"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the full sizes by default; where nothing may be skipped, they must have been chosen."""
    if os.environ.get(FULL) == "1":
        return
    marked = [item for item in items if item.get_closest_marker("full") is not None]
    if marked and os.environ.get(REQUIRE_SERVICES) == "1":
        raise pytest.UsageError(f"{REQUIRE_SERVICES}=1 skips nothing: set {FULL}=1 too")
    for item in marked:
        item.add_marker(pytest.mark.skip(reason=f"a full size: set {FULL}=1"))


@pytest.fixture
def full() -> bool:
    """Whether the full sizes were asked for."""
    return os.environ.get(FULL) == "1"
