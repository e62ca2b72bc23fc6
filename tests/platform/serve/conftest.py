from collections.abc import Iterator

import pytest

from serving import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """`blear serve` with the model in the package of blear."""
    started = Server()
    yield started
    assert started.stop() == ""
