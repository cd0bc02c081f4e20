"""Faults put into real episodes are named, and episodes without one are accused of nothing.

The episodes are those of ``benchmarks/explain_faults.py``, which prints the same as a table with more of each.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("av")

from robotrace.testing.spool import temporary_spool


def _bench() -> Any:
    path = Path(__file__).parent.parent.parent / "benchmarks" / "explain_faults.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench = _bench()

# On a machine that is as slow as the arm's own clock, one cannot tell whether the loop waited or the clock moved on.
ALSO = {"stall": {"clock_fault"}}


@pytest.fixture(autouse=True)
def _spool() -> Iterator[None]:
    with temporary_spool():
        yield


@pytest.mark.parametrize(("world", "fault", "code"), bench.FAULTS, ids=lambda value: str(value))
def test_a_fault_comes_first(world: str, fault: str, code: str) -> None:
    _, analysis = bench.explained(bench.Trial(world, fault, "good", 1))
    codes = [finding.code for finding in analysis.findings]
    wanted = {code} | ALSO.get(fault, set())
    assert codes[0] in wanted, [finding.to_dict() for finding in analysis.findings]
    assert "unexplained" not in codes
    assert not [item for item in analysis.skipped if "the rule failed" in item.reason]


@pytest.mark.parametrize(("world", "policy"), bench.NOMINAL, ids=lambda value: str(value))
def test_nothing_is_claimed_where_nothing_was_wrong(world: str, policy: str) -> None:
    """Three of each, 45 in all: good policies and bad ones, actions at their bounds and constants by design."""
    for seed in (100, 101, 104):
        status, analysis = bench.explained(bench.Trial(world, None, policy, seed))
        claimed = [finding.to_dict() for finding in analysis.findings if finding.code not in bench.NO_CAUSE]
        assert claimed == []
        assert ("unexplained" in [finding.code for finding in analysis.findings]) is (status == "failed")


def test_the_onset_is_when_the_fault_began() -> None:
    trial = bench.Trial("cartpole", "frozen", "good", 3)
    _, analysis = bench.explained(trial)
    first: Any = analysis.findings[0]
    # Step 43 returns what step 42 did: row 43 is the first repetition, row 42 where the value began to stay.
    assert first.evidence["frozen"][0]["row"] == 42
    assert first.onset_s == pytest.approx(42 * 0.02)
