"""Environments that log for themselves what happened, so that a recording can be compared with the truth."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

__all__ = ["BARCODE_BITS", "LoggingEnv", "read_barcode"]

BARCODE_BITS = 16
_CELL = 16


def barcode(number: int) -> np.ndarray:
    """A red frame whose top carries ``number`` as black and white cells."""
    frame = np.zeros((96, BARCODE_BITS * _CELL, 3), np.uint8)
    frame[:, :, 0] = 255
    for bit in range(BARCODE_BITS):
        frame[: _CELL * 2, bit * _CELL : (bit + 1) * _CELL] = 255 if number >> bit & 1 else 0
    return frame


def read_barcode(frame: np.ndarray) -> int:
    cells = (frame[_CELL, bit * _CELL + _CELL // 2].mean() > 128 for bit in range(BARCODE_BITS))
    return sum(1 << bit for bit, on in enumerate(cells) if on)


class LoggingEnv(gym.Env):
    """Reuses its observation buffer, has a known clock, burns the frame number into the picture.

    Observation: Dict of a float32 vector and an int8 flag. Ends after ``length`` steps; ``raises_at`` raises.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}  # noqa: RUF012 - Gymnasium's form
    dt = 0.05

    def __init__(
        self,
        render_mode: str | None = "rgb_array",
        length: int = 20,
        raises_at: int | None = None,
        ends: str = "terminated",
    ) -> None:
        self.render_mode = render_mode
        self.length = length
        self.raises_at = raises_at
        self.ends = ends
        self.observation_space = gym.spaces.Dict(
            {"pose": gym.spaces.Box(-np.inf, np.inf, (3,), np.float32), "flag": gym.spaces.Discrete(7)}
        )
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float64)
        self.log: list[dict[str, Any]] = []
        self.rendered = 0
        self._pose = np.zeros(3, np.float32)

    def _observe(self) -> dict[str, Any]:
        self._pose[:] = self.np_random.standard_normal(3)
        observation = {"pose": self._pose, "flag": np.int64(self._step % 7)}
        self.log[-1]["observations"].append((self._pose.copy(), int(observation["flag"])))
        return observation

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        self.log.append({"observations": [], "actions": [], "rewards": [], "seed": seed})
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.log[-1]["actions"].append(np.array(action))
        action[:] = 0.0  # an env may do anything to its arguments
        if self._step == self.raises_at:
            raise RuntimeError("the gripper is on fire")
        self._step += 1
        reward = float(self.np_random.random())
        self.log[-1]["rewards"].append(reward)
        done = self._step >= self.length
        observation = self._observe()
        info = {"is_success": self._step % 2 == 0} if done else {}
        return observation, reward, done and self.ends == "terminated", done and self.ends == "truncated", info

    def render(self) -> np.ndarray:
        self.rendered += 1
        return barcode(self._step)
