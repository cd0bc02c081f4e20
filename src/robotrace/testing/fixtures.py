"""For pytest: ``pytest_plugins = ["robotrace.testing.fixtures"]`` in a ``conftest.py``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from robotrace.testing.server import FaultServer
from robotrace.testing.spool import SpoolFixture, temporary_spool

__all__ = ["robotrace_deployment", "robotrace_spool"]


@pytest.fixture
def robotrace_spool() -> Iterator[SpoolFixture]:
    """A spool of this test's own; nothing is uploaded."""
    with temporary_spool() as spool:
        yield spool


@pytest.fixture
def robotrace_deployment() -> Iterator[FaultServer]:
    """A deployment of this test's own, to which everything recorded is delivered."""
    with FaultServer(api_key="rt_test") as server, temporary_spool(base_url=server.url):
        yield server
