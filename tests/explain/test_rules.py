"""Each rule on arrays of its own: what it names, when, and the traps it does not fall into."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("numpy")

import numpy as np

from robotrace.explain import Analysis, EpisodeFacts, Finding, Stream, analyze

STEP_NS = 20_000_000
BOX = {"env": {"action_space": "Box(-1.0, 1.0, (2,), float32)"}}


def stream(name: str, values: Any, t_ns: Any = None) -> Stream:
    values = np.asarray(values)
    return Stream(name, values, np.arange(len(values)) * STEP_NS if t_ns is None else np.asarray(t_ns))


def walk(rows: int, columns: int = 3, seed: int = 0) -> Any:
    """Something that moves all the time."""
    return np.cumsum(np.random.default_rng(seed).normal(size=(rows, columns)), axis=0).astype(np.float32)


def look(sensors: Any = (), actions: Any = (), **more: Any) -> Analysis:
    found = analyze(EpisodeFacts(sensors=sensors, actions=actions, **more))
    assert not [item for item in found.skipped if "the rule failed" in item.reason], found.skipped
    return found


def finding(analysis: Analysis, code: str) -> Finding | None:
    return next((item for item in analysis.findings if item.code == code), None)


def found(analysis: Analysis, code: str) -> Finding:
    item = finding(analysis, code)
    assert item is not None, analysis.findings
    return item


def why_not(analysis: Analysis, code: str) -> str:
    return next(item.reason for item in analysis.skipped if item.what == code)


# --- what the recording says in words


def test_an_exception_names_the_innermost_frame_of_the_users_own_code() -> None:
    traceback = [
        "Traceback (most recent call last):",
        '  File "/home/me/train.py", line 9, in <module>',
        '  File "/home/me/envs/arm.py", line 41, in step',
        '  File "/usr/lib/python3.11/site-packages/numpy/linalg.py", line 7, in solve',
        "LinAlgError: Singular matrix",
    ]
    exception = {"type": "LinAlgError", "message": "Singular matrix", "traceback": traceback}
    analysis = look(metadata={"exception": exception, "failure_reason": "LinAlgError: Singular matrix"})
    item = found(analysis, "exception")
    assert item.evidence["frame"] == {"file": "/home/me/envs/arm.py", "line": 41, "function": "step"}
    assert [one.code for one in analysis.findings] == ["exception"]


def test_the_exception_that_the_sdk_keeps_as_a_reason_is_one() -> None:
    item = found(look(metadata={"failure_reason": "ValueError: no\nway"}), "exception")
    assert (item.evidence["type"], item.evidence["message"]) == ("ValueError", "no\nway")
    assert finding(look(metadata={"failure_reason": "ValueError: no"}, status="ready"), "exception") is None


def test_ctrl_c_is_no_cause_of_much_weight() -> None:
    item = found(look(metadata={"exception": {"type": "KeyboardInterrupt", "message": ""}}), "exception")
    assert item.confidence < 0.5
    assert "Stopped by" in item.title


@pytest.mark.parametrize(
    "reason",
    [
        "outcome(success=False)",
        "failure() said so at step 7",
        "is_success is false at the end (truncated at step 9)",
    ],
)
def test_a_reason_that_the_recorder_filled_in_explains_nothing(reason: str) -> None:
    analysis = look(metadata={"failure_reason": reason})
    assert [item.code for item in analysis.findings] == ["unexplained"]


def test_the_reason_somebody_gave_is_an_explanation() -> None:
    analysis = look(metadata={"failure_reason": "the cup slipped", "outcome": {"success": False}})
    assert [item.code for item in analysis.findings] == ["failure_reason_in_metadata", "explicit_outcome"]


def test_collisions_are_named_where_they_were_counted() -> None:
    item = found(look(metadata={"outcome": {"collision_count": 2}}), "explicit_outcome")
    assert item.title == "Collisions were counted"
    assert finding(look(metadata={"outcome": {"collision_count": 2}}, status="ready"), "explicit_outcome") is None


def test_an_episode_without_anything_is_unexplained_and_says_what_was_not_judged() -> None:
    item = found(look(), "unexplained")
    assert {"nan_in_actions", "frozen_sensor", "clock_fault", "battery"} <= set(item.evidence["not_judged"])
    assert look(status="ready").findings == ()


# --- values that are none


def test_nan_in_actions_comes_before_what_follows_from_it() -> None:
    actions, seen = walk(100, 2), walk(101)
    actions[60:] = np.nan
    seen[61:] = np.nan
    error = {"exception": {"type": "ValueError", "message": "NaN"}}
    analysis = look([stream("observation", seen)], [stream("action", actions)], metadata=error)
    assert [item.code for item in analysis.findings] == ["nan_in_actions", "nan_in_observations", "exception"]
    assert analysis.findings[0].onset_s == 60 * 0.02


def test_nan_in_observations_comes_before_the_action_it_leads_to() -> None:
    actions, seen = walk(100, 2), walk(101)
    seen[40:, 1] = np.nan
    actions[40:] = np.nan
    analysis = look([stream("observation", seen)], [stream("action", actions)])
    assert [item.code for item in analysis.findings][:2] == ["nan_in_observations", "nan_in_actions"]
    assert analysis.findings[0].evidence["streams"][0]["columns"] == [1]


def test_a_force_that_is_nan_in_the_moment_of_the_action_follows_from_it() -> None:
    actions, felt = walk(100, 2), walk(100, 1)
    actions[40:] = felt[40:] = np.nan
    analysis = look([stream("force", felt)], [stream("action", actions)])
    assert [item.code for item in analysis.findings] == ["nan_in_actions", "nan_in_observations"]


def test_a_column_that_is_nan_by_habit_is_a_hint_only() -> None:
    seen = walk(100)
    seen[::3, 2] = np.inf  # a range finder without an echo
    assert found(look([stream("scan", seen)]), "nan_in_observations").confidence < 0.5
    seen[50:, 0] = np.nan
    item = found(look([stream("scan", seen)]), "nan_in_observations")
    assert (item.confidence, item.evidence["streams"][0]["columns"]) == (0.95, [0])


def test_an_info_that_is_nan_is_no_observation() -> None:
    assert (
        finding(look([stream("info.best", np.full(50, np.nan)), stream("o", walk(50))]), "nan_in_observations") is None
    )


# --- the actuator's limits


def saturated(values: Any, metadata: Any = BOX) -> Finding | None:
    return finding(look([], [stream("action", values)], metadata=metadata), "action_saturation")


def test_an_action_that_comes_to_stand_at_its_bound_is_named() -> None:
    actions = np.random.default_rng(0).uniform(-0.8, 0.8, (100, 2)).astype(np.float32)
    actions[70:, 1] = 1.0
    item = saturated(actions)
    assert item is not None
    assert item.evidence["actions"][0]["action"] == "action[1]"
    assert (item.evidence["actions"][0]["bound"], item.onset_s) == ("upper", 1.4)


def test_bounds_that_a_loop_gives_itself_count_too() -> None:
    actions = np.linspace(0, 40, 100)
    assert saturated(actions, {"action_bounds": {"low": -20, "high": 20}}) is not None
    assert saturated(actions, {}) is None


@pytest.mark.parametrize(
    "actions",
    [
        np.sign(np.sin(np.arange(200) / 30))[:, None] * np.ones(2),  # bang-bang control, in long runs
        np.column_stack([np.sin(np.arange(200) / 9) * 0.9, np.repeat([1.0, -1.0], 100)]),  # a gripper that closes once
        np.ones((200, 2)),  # full power all the way
        np.repeat([[0.3, 0.2], [0.5, -0.4], [1.0, 0.1], [0.2, 0.9], [-0.7, 0.0]], 20, axis=0),  # held for 20 steps each
        np.clip(np.sin(np.arange(200) / 10) * 1.5, -1, 1)[:, None] * np.ones(2),  # at the limit for a moment each
    ],
)
def test_actions_at_their_bounds_by_design_are_not(actions: Any) -> None:
    assert saturated(actions.astype(np.float32)) is None


def test_discrete_actions_have_no_bounds_to_stand_at() -> None:
    analysis = look([], [stream("action", np.ones(100, np.int64))], metadata={"env": {"action_space": "Discrete(2)"}})
    assert "no bounds" in why_not(analysis, "action_saturation")


# --- sensors that stop


def test_a_vector_that_stops_at_once_froze_even_if_nothing_else_moves() -> None:
    seen = walk(100)
    seen[60:] = seen[60]
    item = found(look([stream("observation", seen)]), "frozen_sensor")
    assert (item.onset_s, item.confidence) == (60 * 0.02, 0.6)
    item = found(look([stream("observation", seen)], [stream("action", walk(100, seed=2))]), "frozen_sensor")
    assert item.confidence == 0.9


def test_one_column_that_stops_while_the_others_go_on_is_named() -> None:
    seen = np.sin(np.arange(200)[:, None] / np.array([5.0, 7.0, 9.0]))
    seen[113:, 1] = seen[113, 1]
    item = found(look([stream("q", seen)]), "frozen_sensor")
    assert item.title == "q[1] froze"


def test_columns_that_stop_together_are_one_sensor() -> None:
    seen = walk(200, 5)
    seen[150:, :3] = seen[150, :3]
    item = found(look([stream("observation", seen)]), "frozen_sensor")
    assert item.evidence["frozen"][0]["columns"] == [0, 1, 2]


def test_a_sensor_that_holds_its_value_between_readings_freezes_by_its_own_measure() -> None:
    held = np.repeat(walk(60), 5, axis=0)
    others = [stream("action", walk(300, seed=4))]
    assert finding(look([stream("pose", held)], others), "frozen_sensor") is None
    held[150:] = held[150]
    assert found(look([stream("pose", held)], others), "frozen_sensor").onset_s == 150 * 0.02


@pytest.mark.parametrize(
    "values",
    [
        np.full((200, 3), 0.7),  # a goal
        np.repeat(walk(4), 50, axis=0),  # a goal that changes
        np.concatenate([np.zeros((100, 3)), walk(100)]),  # begins to move
        np.maximum(walk(200, 1).astype(float) * 0 + np.sin(np.arange(200) / 8)[:, None] * 2, 1.0),  # at an end stop
        np.exp(-np.arange(400) / 8)[:, None].astype(np.float32) * np.ones(3, np.float32) + np.float32(1),  # settles
        (np.random.default_rng(0).random((200, 1)) > 0.9).astype(np.int64),  # a contact
        np.round(40 * np.sin(np.arange(240) / 45))[:, None] + np.arange(2),  # an encoder that turns between two counts
    ],
)
def test_what_stands_still_by_design_is_not_frozen(values: Any) -> None:
    others = [stream("action", walk(len(values), seed=3))]
    assert finding(look([stream("thing", values)], others), "frozen_sensor") is None


def test_an_agent_at_a_wall_has_no_frozen_sensor() -> None:
    cells = np.concatenate([np.arange(40), np.full(60, 40)])
    space = {"env": {"observation_space": "Discrete(64)"}}
    others = [stream("action", np.arange(100) % 4)]
    assert finding(look([stream("observation", cells)], others, metadata=space), "frozen_sensor") is None


@pytest.mark.parametrize("name", ["goal", "arm.target_pose", "/cmd_vel/linear"])
def test_what_is_asked_for_may_stop_at_the_end_of_a_trajectory(name: str) -> None:
    asked = walk(200)
    asked[100:] = asked[100]
    others = [stream("action", walk(200, seed=3))]
    assert finding(look([stream(name, asked)], others), "frozen_sensor") is None
    assert finding(look([stream("pose", asked)], others), "frozen_sensor") is not None


def test_flags_rewards_and_clocks_are_no_sensors() -> None:
    stopped = np.concatenate([np.arange(50.0), np.full(50, 50.0)])
    added = [stream(name, stopped) for name in ("reward", "info.x", "wall_clock")]
    assert finding(look([*added, stream("observation", walk(100))]), "frozen_sensor") is None


def test_a_sensor_of_which_no_rows_come_any_more_dropped_out() -> None:
    times = np.arange(100) * 2 * STEP_NS
    lidar = stream("lidar", walk(60), times[:60])
    item = found(look([stream("q", walk(200)), lidar]), "dropped_sensor")
    assert (item.streams, item.onset_s) == (("lidar",), 59 * 0.04)
    assert item.evidence["dropped"][0]["until_the_end"] is True


def test_a_gap_of_a_sensors_own_is_a_dropout_and_one_of_all_streams_is_not() -> None:
    times = np.delete(np.arange(200) * STEP_NS, slice(80, 120))
    sensor = stream("force", walk(160), times)
    assert found(look([stream("q", walk(200)), sensor]), "dropped_sensor").onset_s == 79 * 0.02
    together = [stream("q", walk(160), times), stream("imu", walk(160, seed=1), times + 1)]
    assert finding(look(together), "dropped_sensor") is None


def test_a_sensor_that_comes_on_events_does_not_drop_out() -> None:
    times = np.cumsum(np.random.default_rng(1).exponential(4 * STEP_NS, 40)).astype(np.int64)
    assert finding(look([stream("q", walk(400)), stream("bump", walk(40), times)]), "dropped_sensor") is None


# --- time

REAL: dict[str, Any] = {"source": "real", "metadata": {"clock": "caller"}, "fps": 50.0}


def test_a_clock_that_goes_back_is_named() -> None:
    times = np.arange(100) * STEP_NS
    times[60:] -= 30 * STEP_NS
    item = found(look([stream("q", walk(100), times)]), "clock_fault")
    assert (item.title, item.onset_s) == ("The clock went backwards", 59 * 0.02)


def test_times_that_repeat_are_named_unless_they_are_few() -> None:
    times = np.arange(100) // 5 * 5 * STEP_NS
    assert found(look([stream("q", walk(100), times)]), "clock_fault").evidence["faults"][0]["kind"] == "repeated"
    times = np.arange(100) * STEP_NS
    times[50] = times[49]
    assert finding(look([stream("q", walk(100), times)]), "clock_fault") is None


def test_a_clock_that_jumps_is_told_from_a_loop_that_waits_by_this_machines_own() -> None:
    times, steady = np.arange(200) * STEP_NS, np.arange(200) * STEP_NS + 10**18
    times[120:] += 50 * STEP_NS
    jumped = look([stream("q", walk(200), times), stream("wall_clock", steady, times)], [], **REAL)
    assert found(jumped, "clock_fault").evidence["faults"][0]["kind"] == "jump"
    assert finding(jumped, "loop_overrun") is None
    waited = look([stream("q", walk(200), times), stream("wall_clock", times + 10**18, times)], [], **REAL)
    assert found(waited, "loop_overrun").onset_s == 119 * 0.02
    assert finding(waited, "clock_fault") is None


def test_a_log_that_is_played_back_has_no_clock_that_jumps() -> None:
    times = np.arange(200) * STEP_NS
    times[120:] += 50 * STEP_NS
    replayed = look([stream("q", walk(200), times), stream("wall_clock", np.arange(200) * 1000, times)], [], **REAL)
    assert finding(replayed, "clock_fault") is None


def test_a_loop_that_is_late_is_named_for_a_real_robot_only() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(np.where(rng.random(300) < 0.3, 2.2, 1.0) * STEP_NS).astype(np.int64)
    actions = [stream("action", walk(300, 2), times)]
    item = found(look([], actions, **REAL), "loop_overrun")
    assert 0.2 < item.evidence["late_share"] < 0.4
    simulated = look([], actions, source="sim", metadata={"clock": "dt"}, fps=50.0)
    assert "simulated" in why_not(simulated, "loop_overrun")


def test_jitter_and_an_action_that_is_repeated_are_no_overrun() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.85, 1.15, 300) * STEP_NS).astype(np.int64)
    assert finding(look([], [stream("action", walk(300, 2), times)], **REAL), "loop_overrun") is None
    assert finding(look([], [stream("action", walk(300, 2), times * 4)], **REAL), "loop_overrun") is None


def test_a_loop_slower_than_its_rate_is_named() -> None:
    times = np.arange(200) * round(STEP_NS * 1.4)
    assert found(look([], [stream("action", walk(200, 2), times)], **REAL), "loop_overrun").evidence["late_share"] == 0


# --- power


def battery(name: str, values: Any, interval_s: float = 0.1) -> Finding | None:
    times = (np.arange(len(values)) * interval_s * 1e9).astype(np.int64)
    return finding(look([stream(name, np.asarray(values, float), times)]), "battery")


def test_a_voltage_that_breaks_in_is_named_and_one_that_runs_down_is_not() -> None:
    steady = 24 + np.random.default_rng(0).normal(0, 0.1, 200)
    assert battery("battery.voltage_v", steady) is None
    assert battery("battery.voltage_v", np.linspace(25, 19, 2000), 1.0) is None
    sagging = np.where(np.arange(200) >= 150, steady * 0.75, steady)
    item = battery("battery.voltage_v", sagging)
    assert item is not None
    assert item.onset_s == pytest.approx(15.0)
    one = steady.copy()
    one[100] = 0.0
    assert battery("battery.voltage_v", one) is None


@pytest.mark.parametrize(("name", "full"), [("battery.percent", 100.0), ("/battery_state/percentage", 1.0)])
def test_a_battery_that_is_nearly_empty_is_named_in_percent_or_as_a_share(name: str, full: float) -> None:
    assert battery(name, np.linspace(0.5, 0.2, 100) * full) is None
    item = battery(name, np.linspace(0.2, 0.02, 100) * full)
    assert item is not None
    assert item.confidence == 0.85


def test_a_joint_is_no_battery() -> None:
    assert "no stream of a battery" in why_not(look([stream("joint_positions", walk(50))]), "battery")


# --- video and environment


def test_a_camera_that_stops_is_named_unless_the_recorder_left_frames_out() -> None:
    frames = np.arange(30) * 0.1
    facts: dict[str, Any] = {"frames_s": frames, "duration_s": 10.0}
    seen = [stream("q", walk(500))]
    assert found(look(seen, **facts), "frozen_video").onset_s == pytest.approx(2.9)
    camera = {"name": "render", "frames_submitted": 30, "frames": 30, "dropped": 70, "missing": 0}
    analysis = look(seen, metadata={"video": {"cameras": [camera]}}, **facts)
    assert finding(analysis, "frozen_video") is None
    assert found(analysis, "dropped_frames").evidence["not_kept"] == {"render": 70}


def test_a_video_of_a_few_frames_with_the_episodes_own_rate_is_fine() -> None:
    assert finding(look([stream("q", walk(500))], frames_s=np.arange(500) * 0.02), "frozen_video") is None


def test_other_versions_are_named_where_running_it_again_diverged() -> None:
    report = {
        "verdict": "diverged",
        "differences": [{"name": "mujoco", "recorded": "3.1.0", "here": "3.2.0"}],
        "divergence": {"step": 7, "t_s": 0.14, "stream": "observation"},
    }
    analysis = look(reproduction=report)
    item = found(analysis, "environment_changed")
    assert (item.onset_s, item.streams) == (0.14, ("observation",))
    assert "mujoco 3.1.0 (there 3.2.0)" in item.description
    # That it differs elsewhere is no reason why it failed here.
    assert finding(analysis, "unexplained") is not None
    assert finding(look(reproduction={**report, "verdict": "reproduced"}), "environment_changed") is None
