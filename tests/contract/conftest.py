"""The stores of the contract: each kind in turn, one for all tests of a pytest process."""

import pytest

from store_cases import KINDS, StoreCase, make_case


@pytest.fixture(scope="session", params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StoreCase:
    """A store under test; tests use names of their own in it (``case.fresh()``)."""
    return make_case(request.param, request, tmp_path_factory.mktemp("stores"))
