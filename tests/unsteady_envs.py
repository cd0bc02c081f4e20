"""Environments that do not do the same thing twice, or not the same as before, and some that misbehave."""

from __future__ import annotations

import os
import subprocess  # noqa: F401 - what an attacker would reach through this module
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

__all__ = ["ARM", "Arm"]

ARM = "RoboTraceArm-v0"
"""Of :class:`Arm`; registered by whoever records it."""


class Arm(gym.Env[Any, Any]):
    """A point that is pushed around.

    Args:
        mood: What happens in step ``at``: ``steady`` nothing; ``random`` noise that no seed reaches; ``physics`` the
            gain is what ``gain_file`` says now; ``raises``; ``exits``; ``hangs``; ``eats`` memory; ``dies``.
        at: The step.
        gain_file: Text of a number.
        length: Steps of an episode.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 - Gymnasium's form

    def __init__(
        self,
        mood: str = "steady",
        at: int = 5,
        gain_file: str | None = None,
        length: int = 12,
        render_mode: str | None = None,
    ) -> None:
        self.mood, self.at, self.gain_file, self.length, self.render_mode = mood, at, gain_file, length, render_mode
        self.observation_space = gym.spaces.Dict(
            {"pose": gym.spaces.Box(-np.inf, np.inf, (3,), np.float64), "step": gym.spaces.Discrete(100)}
        )
        self.action_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float64)
        self.pose, self.count = np.zeros(3), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.pose, self.count = self.np_random.standard_normal(3), 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        gain = 1.0
        if self.count == self.at:
            gain = self._misbehave()
        self.pose = self.pose + gain * action + 0.01 * self.np_random.standard_normal(3)
        return self._observation(), float(self.pose.sum()), self.count >= self.length, False, {}

    def render(self) -> Any:
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[:, : 4 * self.count] = 255
        return frame

    def _observation(self) -> dict[str, Any]:
        return {"pose": self.pose.copy(), "step": np.int64(self.count)}

    def _misbehave(self) -> float:
        rerun = os.environ.get("ROBOTRACE_MODE") == "disabled"  # as in a worker of reroll
        if self.mood == "random":
            return float(np.random.default_rng().random())
        if self.mood == "physics":
            assert self.gain_file is not None
            return float(Path(self.gain_file).read_text())
        if self.mood == "raises":
            raise RuntimeError("the gripper is on fire")
        if rerun and self.mood == "exits":
            raise SystemExit(3)
        if rerun and self.mood == "hangs":
            time.sleep(600)
        if rerun and self.mood == "eats":
            self.meal = np.ones(2**40, np.uint8)
        if rerun and self.mood == "dies":
            os.abort()
        return 1.0
