"""The environments of the benchmarks, and the processes' own figures (Linux: /proc)."""

from __future__ import annotations

import contextlib
import os
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

__all__ = [
    "Barcodes",
    "Frames",
    "Nested",
    "actions_for",
    "balancing_actions",
    "children_cpu_s",
    "children_kib",
    "endless",
    "read_barcode",
    "rss_kib",
]

_BITS, _CELL = 16, 16


def endless(env_id: str) -> gym.Env[Any, Any]:
    """An environment that never ends by itself, so that a step is measured and not an episode's end."""
    keywords: dict[str, Any] = {"Ant-v5": {"terminate_when_unhealthy": False}}.get(env_id, {})
    env = gym.make(env_id, max_episode_steps=10**9, disable_env_checker=True, **keywords)
    if env_id.startswith("CartPole"):
        env.unwrapped.theta_threshold_radians = env.unwrapped.x_threshold = float("inf")  # type: ignore[attr-defined]
    return env


def actions_for(env: Any, steps: int) -> list[Any]:
    """Random actions, 256 different ones, made before the clock starts."""
    env.action_space.seed(0)
    return list(islice(cycle([env.action_space.sample() for _ in range(256)]), steps))


def balancing_actions(steps: int, seed: int = 0) -> list[int]:
    """Actions that keep CartPole of this seed upright for so many steps, so that an episode has this length."""
    env = gym.make("CartPole-v1", max_episode_steps=steps, disable_env_checker=True)
    (x, v, angle, turn), _ = env.reset(seed=seed)
    actions: list[int] = []
    for _ in range(steps):
        actions.append(int(angle + 0.4 * turn + 0.02 * x + 0.06 * v > 0))
        (x, v, angle, turn), _, terminated, _, _ = env.step(actions[-1])
        if terminated:
            raise RuntimeError(f"the pole fell after {len(actions)} steps")
    return actions


class Nested(gym.Env[Any, Any]):
    """A Dict observation of ``leaves`` vectors; one set of buffers for all steps, as fast simulators do it."""

    metadata = {"render_fps": 50}  # noqa: RUF012 - Gymnasium's form
    render_mode = None

    def __init__(self, leaves: int) -> None:
        box = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.observation_space = gym.spaces.Dict({f"leaf{k}": box for k in range(leaves)})
        self.action_space = gym.spaces.Discrete(2)
        self._observation = {f"leaf{k}": np.zeros(4, np.float32) for k in range(leaves)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._observation, 1.0, False, False, {}


class Frames(gym.Env[Any, Any]):
    """Pictures of 480×640 that cost one copy to render, a step that takes ``step_s``; knows its own times."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012 - Gymnasium's form
    observation_space = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, length: int, step_s: float = 0.0, render_mode: str | None = "rgb_array") -> None:
        self.render_mode = render_mode
        self.length = length
        self.own_ns = 0
        """Time inside this environment since it was last set to 0."""
        self._step_ns = int(step_s * 1e9)
        self._observation = np.zeros(4, np.float32)
        self._count = 0
        rows, columns = np.mgrid[0:480, 0:640]
        moving = ((columns + 8 * k) % 256 for k in range(16))
        self._pictures = [np.stack([m, rows % 256, np.full_like(m, 90)], -1).astype(np.uint8) for m in moving]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._count = 0
        return self._observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        began = time.perf_counter_ns()
        self._count += 1
        while time.perf_counter_ns() - began < self._step_ns:
            pass
        self.own_ns += time.perf_counter_ns() - began
        return self._observation, 1.0, False, self._count >= self.length, {}

    def render(self) -> np.ndarray:
        began = time.perf_counter_ns()
        picture = self._pictures[self._count % 16].copy()  # renderers give a new array each time
        self.own_ns += time.perf_counter_ns() - began
        return picture


class Barcodes(Frames):
    """Burns the frame's number into the picture, drawn into one buffer again and again."""

    def __init__(self, length: int, step_s: float = 0.0) -> None:
        super().__init__(length, step_s)
        self._picture = np.zeros((96, _BITS * _CELL, 3), np.uint8)

    def render(self) -> np.ndarray:
        for bit in range(_BITS):
            self._picture[:, bit * _CELL : (bit + 1) * _CELL] = 255 if self._count >> bit & 1 else 0
        return self._picture


def read_barcode(picture: np.ndarray) -> int:
    """The number in a decoded picture of :class:`Barcodes`."""
    row = picture[picture.shape[0] // 2]
    return sum(1 << bit for bit in range(_BITS) if row[bit * _CELL + _CELL // 2].mean() > 128)


def rss_kib() -> int:
    """Resident memory of this process now."""
    return _kib("/proc/self/status", "VmRSS")


def children_kib() -> tuple[int, int]:
    """The largest child process, without the frame ring, which is counted in this process.

    Returns:
        Its own memory and its part of what it shares with others (PSS: library files are mapped in both), and all it
        has mapped in (RSS); 0, 0 where there is none.
    """
    sizes = [(0, 0)]
    for pid in _children():
        with contextlib.suppress(OSError, KeyError):
            share = _kib(f"/proc/{pid}/smaps_rollup", "Pss_Anon", "Pss_File")
            sizes.append((share, _kib(f"/proc/{pid}/status", "RssAnon", "RssFile")))
    return max(sizes)


def _kib(path: str, *names: str) -> int:
    fields = dict(line.split(":", 1) for line in Path(path).read_text().splitlines() if ":" in line)
    return sum(int(fields[name].split()[0]) for name in names)


def children_cpu_s() -> float:
    """CPU time of all children so far, those that still run (in ticks of 10 ms) and those that have ended."""
    ended = os.times()
    total = ended.children_user + ended.children_system
    for pid in _children():
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    return total


def _children() -> list[str]:
    return [pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]
