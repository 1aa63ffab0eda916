"""The cluster that tests about several machines share."""

import sys
from collections.abc import Iterator

import pytest
from clusters import Machines, two_machines


@pytest.fixture(scope="session")
def machines() -> Iterator[Machines]:
    """Up from the first test that asks for it; no test ends or damages it."""
    if sys.platform != "linux":
        pytest.skip("needs loopback addresses of their own")
    with two_machines() as running:
        yield running
