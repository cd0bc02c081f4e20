"""For tests of code that records: a spool of the test's own, and a deployment that fails on demand.

With pytest, in a ``conftest.py``: ``pytest_plugins = ["robotrace.testing.fixtures"]`` gives the fixtures
``robotrace_spool`` and ``robotrace_deployment``. Our own tests are written with the same parts.
"""

from robotrace.testing.clock import FakeClock
from robotrace.testing.server import Fault, FaultPlan, FaultServer, StoredEpisode
from robotrace.testing.spool import RecordedEpisode, SpoolFixture, temporary_spool

__all__ = [
    "FakeClock",
    "Fault",
    "FaultPlan",
    "FaultServer",
    "RecordedEpisode",
    "SpoolFixture",
    "StoredEpisode",
    "temporary_spool",
]
