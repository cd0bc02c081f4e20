"""Faults put into real episodes, and what the rules of explain say of them: ``python benchmarks/explain_faults.py``.

Episodes are recorded by the recorder itself, with fixed seeds; each fault happens while the loop runs, so that the
policy meets it as it would a real one. Nominal episodes, of good policies and of bad ones, must name no fault.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import robotrace
from robotrace.cli.explain import analyze_found
from robotrace.deliver.spool import find_spool
from robotrace.explain import Analysis
from robotrace.reroll.episodes import find_local
from robotrace.types import Battery
from robotrace_gymnasium import RoboTraceRecorder

__all__ = ["FAULTS", "NOMINAL", "NO_CAUSE", "Trial", "explained"]

NO_CAUSE = ("explicit_outcome", "unexplained")
"""Codes that claim no cause."""


@dataclass(frozen=True)
class Trial:
    """One episode to be recorded.

    Attributes:
        world: Where.
        fault: What is put into it; None: nothing.
        policy: ``good`` or a kind of bad.
        seed: Of the world and the policy.
        expected: The code that should come first.
    """

    world: str
    fault: str | None
    policy: str
    seed: int
    expected: str | None = None


class _Faulty(gym.Wrapper):
    """An environment with a broken sensor, or that breaks itself."""

    def __init__(self, env: gym.Env, fault: str | None, at: int) -> None:
        super().__init__(env)
        self._fault, self._at, self._steps = fault, at, 0
        self._held: Any = None

    def reset(self, **options: Any) -> Any:
        self._steps = 0
        return self.env.reset(**options)

    def step(self, action: Any) -> Any:
        self._steps += 1
        broken = self._fault is not None and self._steps >= self._at
        if broken and self._fault == "exception":
            raise RuntimeError("the simulator lost contact")
        observation, *rest = self.env.step(action)
        observation = np.array(observation)
        if broken and self._fault == "nan_observation":
            observation[-1] = np.nan
        if broken and self._fault == "frozen":
            observation = self._held.copy()
        if broken and self._fault == "frozen_column":
            observation[-1] = self._held[-1]
        if not broken:
            self._held = observation.copy()
        return observation, *rest


def _cartpole(trial: Trial) -> None:
    rng = np.random.default_rng(trial.seed)

    def policy(observation: Any, step: int) -> int:
        x, speed, angle, spin = np.nan_to_num(observation)
        lean = angle + 0.3 * spin + 0.02 * x + 0.05 * speed
        return {
            "good": int(lean > 0),
            "random": int(rng.integers(2)),
            "one side": 1,
            "wrong way": int(lean < 0),
        }[trial.policy]

    env = gym.make("CartPole-v1", max_episode_steps=200)
    _run(trial, env, policy, 40 + trial.seed % 40, lambda end: end.terminated)


def _pendulum(trial: Trial) -> None:
    rng = np.random.default_rng(trial.seed)
    at = 22 + trial.seed % 20

    def policy(observation: Any, step: int) -> Any:
        cos, sin, spin = observation
        angle = np.arctan2(sin, cos)
        if trial.policy == "good":
            energy = 0.5 * spin**2 + 15 * (cos - 1)
            torque = -10 * angle - 2 * spin if cos > 0.9 else -np.sign(spin or 1.0) * energy
        else:
            torque = {"random": rng.uniform(-2, 2), "asleep": 0.0, "weak": -0.5 * angle}[trial.policy]
        if step >= at and trial.fault == "nan_action":
            torque = np.nan
        if step >= at and trial.fault == "inf_action":
            torque = np.inf
        return np.clip(np.array([torque], np.float32), -2, 2) if trial.fault != "inf_action" else np.float32([torque])

    _run(trial, gym.make("Pendulum-v1"), policy, at, lambda end: not end.reward_total > -900)


def _mountain_car(trial: Trial) -> None:
    rng = np.random.default_rng(trial.seed)

    def policy(observation: Any, step: int) -> Any:
        push = {"good": np.sign(observation[1] or 1.0), "random": rng.uniform(-1, 1), "one side": -1.0}[trial.policy]
        return np.array([push], np.float32)

    env = gym.make("MountainCarContinuous-v0", max_episode_steps=300)
    _run(trial, env, policy, 100, lambda end: not end.terminated)


def _anything(trial: Trial) -> None:
    """Any of Gymnasium's environments under a policy that knows nothing of it; all of it counts as failed."""
    env = gym.make(trial.world)
    space, rng = env.action_space, np.random.default_rng(trial.seed)
    space.seed(trial.seed)

    def policy(observation: Any, step: int) -> Any:
        if not isinstance(space, gym.spaces.Box):
            return space.sample() if trial.policy != "still" else 0
        low, high, size = space.low, space.high, int(np.prod(space.shape))
        wave = np.sin((0.3 if trial.policy == "wave" else 0.02) * step + np.arange(size)).reshape(space.shape)
        held = np.random.default_rng([trial.seed, step // 20]).uniform(low, high)
        actions = {"random": rng.uniform(low, high), "still": 0 * low, "wave": high * wave, "slow": high * wave}
        return np.asarray({**actions, "held": held, "full": high}[trial.policy], space.dtype)

    _run(trial, env, policy, 0, lambda end: True)


def _run(trial: Trial, env: gym.Env, policy: Callable[[Any, int], Any], at: int, failure: Any) -> None:
    recorder = RoboTraceRecorder(
        _Faulty(env, trial.fault, at), video=False, max_per_minute=None, failure=failure, keep_partial="always"
    )
    observation, _ = recorder.reset(seed=trial.seed)
    try:
        for step in range(500):
            observation, _, terminated, truncated, _ = recorder.step(policy(observation, step))
            if terminated or truncated:
                break
    except (RuntimeError, ValueError):  # put in, or the environment's answer to what was put in
        pass
    recorder.close()
    recorder.flush()


_ARM_STEPS = 400
_ARM_HZ = 50
_GOAL_STEPS = 100
_ENCODER = 2 * np.pi / 65536


def _arm(trial: Trial) -> None:
    """Two joints under PD control that follow a goal, with sensors at rates of their own."""
    rng = np.random.default_rng(trial.seed)
    fault, at = trial.fault, int(rng.integers(150, 250))
    angle, speed, load, t, spans = np.zeros(2), np.zeros(2), np.zeros(2), 0.0, 0.0
    frozen: dict[str, Any] = {}
    gain = {"good": 20.0, "weak": 2.0, "shaky": 20.0, "blind": 20.0}[trial.policy]
    metadata = {"action_bounds": {"low": -10.0, "high": 10.0}, "task": "follow"}
    camera = (fault in ("frozen_video", None) and trial.seed % 4 == 0) or fault == "frozen_video"
    with robotrace.record(
        policy_version=trial.policy,
        robot="arm",
        fps=_ARM_HZ,
        source="real",
        metadata=metadata,
        realtime=False,
        max_per_minute=None,
    ) as ep:
        goal, error = np.zeros(2), np.zeros(2)
        for step in range(_ARM_STEPS):
            if step % _GOAL_STEPS == 0:
                goal = rng.uniform(-1, 1, 2)
            broken = fault is not None and step >= at
            target = goal if trial.policy != "blind" else -goal
            q = np.round((angle + 2e-3 * np.sin(7 * t)) / _ENCODER) * _ENCODER
            measured = {"q": q.astype(np.float32), "qd": (speed + rng.normal(0, 5e-3, 2)).astype(np.float32)}
            if broken and fault == "frozen_joints":
                measured = frozen.setdefault("joints", measured)
            if broken and fault == "nan_joint":
                measured["q"][1] = np.nan
            seen = np.nan_to_num(measured["q"])
            torque = gain * (target - seen) - 4.0 * measured["qd"]
            if trial.policy == "shaky":
                torque = torque + rng.normal(0, 15, 2)
            if broken and fault == "load":
                load = np.array([25.0, 0.0])
            if broken and fault == "nan_action":
                torque = torque * np.nan
            torque = np.clip(torque, -10, 10)
            stamp = t
            if fault == "clock_back" and step == at:
                t -= 0.4
                stamp = t
            if broken and fault == "clock_stuck":
                stamp = frozen.setdefault("t", t) + (step - at) // 10 * 0.2
            sensors: dict[str, Any] = {"goal": goal.astype(np.float32), "gripper": np.float32(1.0)}
            imu = (rng.normal(0, 0.02, 3) + np.array([0, 0, 9.81])).astype(np.float32)
            sensors["imu"] = frozen.setdefault("imu", imu) if broken and fault == "frozen_imu" else imu
            force = np.float32(abs(torque[0]) * 0.3 + rng.normal(0, 0.05))
            gone = (broken and fault == "force_lost") or (fault == "force_gap" and at <= step < at + 60)
            if step % 2 == 0 and not gone:
                sensors["force"] = force
            if step % 10 == 0:
                sag = 0.25 if broken and fault == "brownout" else 0.0
                volts = 24.6 - 0.02 * abs(torque).sum() - 0.0005 * step + rng.normal(0, 0.02)
                left = 80.0 - 0.01 * step
                if fault == "empty":
                    left = max(0.5, 14.0 - 0.05 * step)
                sensors["battery"] = Battery(
                    percent=left, voltage_v=volts * (1 - sag), current_a=abs(torque).sum(), charging=False
                )
            frames = None
            if camera and step % 5 == 0 and not (broken and fault == "frozen_video"):
                frames = np.full((32, 32, 3), step % 256, np.uint8)
            ep.step(
                observation=measured, action=torque.astype(np.float32), reward=-float(abs(goal - angle).sum()),
                sensors=sensors, frames=frames, t=stamp,
            )  # fmt: skip
            if broken and fault == "exception" and step > at + 20:
                break
            dt = 1 / _ARM_HZ * (1 + rng.uniform(-0.08, 0.08))
            if fault == "stall" and step == at:
                dt = 0.9
            if broken and fault == "late" and rng.random() < 0.4:
                dt *= 2.2
            t += dt
            for _ in range(4):
                acceleration = np.nan_to_num(torque) - load - 1.0 * speed
                speed = speed + acceleration * dt / 4
                angle = np.clip(angle + speed * dt / 4, -3, 3)
            error = abs(goal - angle)
            spans += error.sum()
        good = spans / _ARM_STEPS < 0.45 and fault is None
        if fault == "reason":
            ep.fail("the gripper let go of the cup")
        else:
            ep.outcome(success=bool(good))
    robotrace.flush()


_WORLDS: dict[str, Callable[[Trial], None]] = {
    "cartpole": _cartpole,
    "pendulum": _pendulum,
    "mountain car": _mountain_car,
    "arm": _arm,
}

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("cartpole", "exception", "exception"),
    ("cartpole", "nan_observation", "nan_in_observations"),
    ("cartpole", "frozen", "frozen_sensor"),
    ("cartpole", "frozen_column", "frozen_sensor"),
    ("pendulum", "nan_action", "nan_in_actions"),
    ("pendulum", "inf_action", "nan_in_actions"),
    ("pendulum", "frozen", "frozen_sensor"),
    ("pendulum", "frozen_column", "frozen_sensor"),
    ("arm", "frozen_joints", "frozen_sensor"),
    ("arm", "frozen_imu", "frozen_sensor"),
    ("arm", "nan_joint", "nan_in_observations"),
    ("arm", "nan_action", "nan_in_actions"),
    ("arm", "force_lost", "dropped_sensor"),
    ("arm", "force_gap", "dropped_sensor"),
    ("arm", "clock_back", "clock_fault"),
    ("arm", "clock_stuck", "clock_fault"),
    ("arm", "stall", "loop_overrun"),
    ("arm", "late", "loop_overrun"),
    ("arm", "load", "action_saturation"),
    ("arm", "brownout", "battery"),
    ("arm", "empty", "battery"),
    ("arm", "frozen_video", "frozen_video"),
    ("arm", "reason", "failure_reason_in_metadata"),
)
"""World, fault, and the code that should come first."""

NOMINAL: tuple[tuple[str, str], ...] = (
    ("cartpole", "good"),
    ("cartpole", "random"),
    ("cartpole", "one side"),
    ("cartpole", "wrong way"),
    ("pendulum", "good"),
    ("pendulum", "random"),
    ("pendulum", "asleep"),
    ("pendulum", "weak"),
    ("mountain car", "good"),
    ("mountain car", "random"),
    ("mountain car", "one side"),
    ("arm", "good"),
    ("arm", "weak"),
    ("arm", "shaky"),
    ("arm", "blind"),
)
"""World and policy of episodes without a fault."""
_SWEPT = (
    *("Acrobot-v1", "MountainCar-v0", "FrozenLake-v1", "CliffWalking-v1", "Blackjack-v1"),
    *("LunarLander-v3", "LunarLanderContinuous-v3", "BipedalWalker-v3"),
    *("Ant-v5", "HalfCheetah-v5", "Hopper-v5", "Humanoid-v5", "HumanoidStandup-v5", "InvertedDoublePendulum-v5"),
    *("InvertedPendulum-v5", "Pusher-v5", "Reacher-v5", "Swimmer-v5", "Walker2d-v5"),
)
_BLIND = ("random", "still", "wave", "slow", "held", "full")


def explained(trial: Trial) -> tuple[str, Analysis]:
    """Record an episode, and explain it.

    Returns:
        Its status, and the analysis.
    """
    spool = find_spool()
    before = {entry.folder for entry in spool.sealed_episodes()}
    _WORLDS.get(trial.world, _anything)(trial)
    (folder,) = {entry.folder for entry in spool.sealed_episodes()} - before
    found = find_local(str(folder), spool)
    assert found is not None
    return str(found.described.get("status")), analyze_found(found)


def _place(analysis: Analysis, code: str) -> int | None:
    codes = [finding.code for finding in analysis.findings]
    return codes.index(code) + 1 if code in codes else None


def _faults(repeats: int, first_seed: int) -> Iterator[str]:
    first = third = total = 0
    yield f"{'world':14}{'fault':18}{'expected':28}{'first':>6}{'top 3':>7}   what came first instead"
    for world, fault, code in FAULTS:
        places, instead = [], Counter[str]()
        for seed in range(first_seed, first_seed + repeats):
            _, analysis = explained(Trial(world, fault, "good", seed, code))
            place = _place(analysis, code)
            places.append(place)
            if place != 1:
                instead[analysis.findings[0].code if analysis.findings else "nothing"] += 1
        ones, threes = places.count(1), sum(place is not None and place <= 3 for place in places)
        first, third, total = first + ones, third + threes, total + repeats
        told = ", ".join(f"{name} {count}" for name, count in instead.items())
        yield f"{world:14}{fault:18}{code:28}{ones:3}/{repeats}{threes:4}/{repeats}   {told}"
    shares = f"{first / total:.0%} first, {third / total:.0%} in the top three"
    yield f"{'all':60}{first:3}/{total}{third:4}/{total}   {shares}"


def _nominal(repeats: int, first_seed: int) -> Iterator[str]:
    yield f"{'world':28}{'policy':10}{'failed':>10}{'named a fault':>16}"
    wrong = total = 0
    swept = [(world, policy) for world in _SWEPT if _is_there(world) for policy in _BLIND]
    for world, policy in (*NOMINAL, *swept):
        failed, accused, named = 0, 0, Counter[str]()
        for seed in range(first_seed, first_seed + repeats):
            status, analysis = explained(Trial(world, None, policy, seed))
            claims = [finding.code for finding in analysis.findings if finding.code not in NO_CAUSE]
            failed += status == "failed"
            accused += bool(claims)
            named.update(claims)
        wrong, total = wrong + accused, total + repeats
        yield f"{world:28}{policy:10}{failed:8}/{repeats}{accused:14}/{repeats}   {dict(named) or ''}"
    yield f"{'all':38}{wrong:24}/{total}"


def _is_there(world: str) -> bool:
    try:
        gym.make(world).close()
    except (gym.error.Error, ImportError):
        return False
    return True


def main() -> None:
    """Print the two tables: episodes of each kind, 5 unless said, and the first seed, 0."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    first_seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        os.environ["ROBOTRACE_HOME"] = str(Path(home))
        for line in itertools.chain(_faults(repeats, first_seed), [""], _nominal(repeats, first_seed)):
            print(line, flush=True)
    print(f"\n{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
