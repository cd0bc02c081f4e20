"""The rules together: ranking, a rule that crashes, and episodes that hold anything."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numpy")

import numpy as np

from robotrace.explain import ANALYZER_VERSION, CODES, EpisodeFacts, Finding, Stream, analysis, analyze
from robotrace.explain.bounds import action_bounds, parse_space

DOCS = Path(__file__).parent.parent.parent / "docs" / "explain.md"


def test_a_rule_that_crashes_is_reported_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(episode: EpisodeFacts) -> Finding | None:
        raise RuntimeError("oh")

    broken = dataclasses.replace(analysis._RULES[0], judge=crash)
    monkeypatch.setattr(analysis, "_RULES", (broken, *analysis._RULES[1:]))
    found = analyze(EpisodeFacts(metadata={"failure_reason": "the cup slipped"}))
    assert [item.code for item in found.findings] == ["failure_reason_in_metadata"]
    assert {"what": broken.code, "reason": "the rule failed: RuntimeError: oh"} in found.to_dict()["skipped"]


def test_the_earlier_of_two_alike_comes_first_and_a_consequence_after_its_cause() -> None:
    t_ns = np.arange(200) * 20_000_000
    moving = np.cumsum(np.random.default_rng(0).normal(size=(200, 3)), axis=0)
    frozen = moving.copy()
    frozen[80:] = frozen[80]
    pushed = np.random.default_rng(1).uniform(-0.8, 0.8, 200)
    pushed[90:] = 1.0
    box = {"env": {"action_space": "Box(-1.0, 1.0, (1,), float32)"}, "outcome": {"success": False}}
    sensors = [Stream("q", frozen, t_ns), Stream("imu", moving, t_ns)]
    facts = EpisodeFacts(box, sensors=sensors, actions=[Stream("action", pushed, t_ns)])
    assert [item.code for item in analyze(facts).findings] == ["frozen_sensor", "action_saturation", "explicit_outcome"]


HOSTILE_VALUES: dict[str, Any] = {
    "empty": np.zeros((0, 3)),
    "no columns": np.zeros((30, 0)),
    "one row": np.ones((1, 3)),
    "scalar": np.float64(3.0),
    "text": np.array(["a", "b"] * 30),
    "bytes": np.array([b"a"] * 40),
    "complex": np.ones((40, 2)) * 1j,
    "huge ints": np.full((60, 2), 2**63 - 1) - np.arange(60)[:, None],
    "unsigned": (np.full((60, 2), 2**64 - 1, np.uint64) - np.arange(60, dtype=np.uint64)[:, None]),
    "inf": np.where(np.arange(60) % 7 == 0, np.inf, np.arange(60.0)),
    "all nan": np.full((60, 2), np.nan),
    "half": np.arange(60, dtype=np.float16) * 1000,
    "image": np.zeros((20, 84, 84, 3), np.uint8),
    "bool": np.arange(60) % 2 == 0,
    "structured": np.zeros(40, dtype=[("a", "f4")]),
    "dates": np.arange(40).astype("datetime64[s]"),
    "denormal": np.full(60, 5e-324) * np.arange(60),
}
HOSTILE_TIMES: dict[str, Any] = {
    "none": None,
    "steady": np.arange(60) * 20_000_000,
    "decreasing": np.arange(60)[::-1] * 10**9,
    "extreme": np.array([-(2**63), 2**63 - 1] * 30),
    "equal": np.zeros(60, np.int64),
    "short": np.arange(7),
    "unsigned": np.arange(60, dtype=np.uint64) + np.uint64(2**63),
    "floats": np.arange(60.0),
    "matrix": np.zeros((60, 2), np.int64),
    "no rows": np.zeros(0, np.int64),
}
HOSTILE_METADATA: list[Any] = [
    {},
    {"exception": "x", "outcome": 3, "failure_reason": {"a": 1}, "env": [], "video": 7, "stamps": "no"},
    {"exception": {"type": "E\ud800", "message": 3, "traceback": [1, None, 'File "a", line 2, in b']}},
    {"outcome": {"success": False, "collision_count": math.inf, "reward_total": 10**400, "steps": -1}},
    {"env": {"action_space": "Box(" * 500, "observation_space": 3}, "video": {"cameras": [{"dropped": "x"}, 4]}},
    {"env": {"action_space": "Dict('a': Box([0. ... 1.], 1.0, (99999999999,), float32))"}},
    {"action_bounds": {"low": None, "high": [1, 2, 3]}},
    {"action_bounds": {"low": "a", "high": "b"}, "failure_reason": "\x00\ud800" * 5000},
]


def strict(value: Any) -> None:
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(("values", "times"), [*itertools.product(HOSTILE_VALUES, HOSTILE_TIMES)])
def test_no_rule_fails_by_what_a_stream_holds(values: str, times: str) -> None:
    made = Stream("battery", np.asarray(HOSTILE_VALUES[values]), HOSTILE_TIMES[times])
    steady = Stream("q", np.sin(np.arange(60.0)), np.arange(60) * 20_000_000)
    wall = Stream("wall_clock", np.asarray(HOSTILE_VALUES[values]), HOSTILE_TIMES[times])
    action = dataclasses.replace(made, name="action")
    facts = EpisodeFacts(
        {"env": {"action_space": "Box(-1.0, 1.0, (2,), float32)"}},
        source="real",
        fps=50.0,
        sensors=[made, steady, wall],
        actions=[action],
        frames_s=HOSTILE_TIMES[times],
    )
    found = analyze(facts)
    strict(found.to_dict())
    assert not [item for item in found.skipped if "the rule failed" in item.reason], found.skipped


@pytest.mark.parametrize("metadata", HOSTILE_METADATA)
@pytest.mark.parametrize("reproduction", [None, {}, {"verdict": "diverged", "differences": [3, {"name": None}]}])
def test_no_analysis_fails_by_what_the_metadata_hold(metadata: Any, reproduction: Any) -> None:
    action = Stream("action", np.linspace(-1, 1, 50), np.arange(50))
    facts = EpisodeFacts(
        metadata, failure_time_s=math.nan, duration_s=math.inf, fps=-1.0, actions=[action], reproduction=reproduction
    )
    strict(analyze(facts).to_dict())


def test_evidence_stays_small() -> None:
    finding = Finding("exception", "t" * 9999, "d" * 9999, 7.0, {str(n): list(range(999)) for n in range(999)})
    told = finding.to_dict()
    assert len(json.dumps(told)) < 25_000
    assert told["confidence"] == 1.0


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("Box(-2.0, 2.0, (1,), float32)", {"action": ([-2], [2])}),
        ("Box([-1. -8.], [ 1. inf], (2,), float32)", {"action": ([-1, -8], [1, math.inf])}),
        ("Box(0.0, [[0. 1.] [2. 3.]], (2, 2), float64)", {"action": ([0] * 4, [0, 1, 2, 3])}),
        ("Box(0, 255, (4,), uint8)", {}),
        ("Box([0. ... 1.], [1. ... 2.], (2000,), float32)", {}),
        ("Discrete(2)", {}),
        ("Dict('arm': Box(-1.0, 1.0, (1,), float32), 'a, b(': Discrete(3))", {"action.arm": ([-1], [1])}),
        ("Tuple(Discrete(3), Dict('x': Box(-1e-05, 1.0, (1,), float32)))", {"action.1.x": ([-1e-05], [1])}),
        ("", {}),
    ],
)
def test_bounds_are_read_from_the_text_of_a_space(text: str, bounds: Any) -> None:
    found = parse_space(text, "action")
    assert {name: (low.tolist(), high.tolist()) for name, (low, high) in found.items()} == bounds
    assert set(action_bounds({"env": {"action_space": text}})) == set(bounds)


def test_every_code_is_in_the_docs_and_every_one_there_exists() -> None:
    table = re.findall(r"^\| `(\w+)` \|", DOCS.read_text(), re.MULTILINE)
    assert sorted(table) == sorted(CODES)
    assert f"version {ANALYZER_VERSION}" in DOCS.read_text()
