"""Environments of any space, a log that copies for itself, and spaces at random."""

from __future__ import annotations

import copy
import random
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

__all__ = ["Log", "SamplingEnv", "random_states"]


def random_states(env: Any) -> tuple[Any, ...]:
    """All random streams a training may draw from, to be compared."""
    generator = env.unwrapped._np_random
    state = None if generator is None else repr(generator.bit_generator.state)
    return random.getstate(), repr(np.random.get_state()), state


class SamplingEnv(gym.Env):
    """Returns samples of its space, out of buffers that it uses again, and draws from every generator there is.

    The reward is a float or, in some steps, an int or a NumPy number, as envs do it. ``length`` steps end an episode.
    """

    metadata = {"render_modes": [], "render_fps": 20}  # noqa: RUF012 - Gymnasium's form

    def __init__(
        self,
        observation_space: Any,
        action_space: Any = None,
        *,
        length: int = 5,
        reuses: bool = True,
        render_mode: str | None = None,
    ) -> None:
        self.observation_space = observation_space
        self.action_space = spaces.Discrete(3) if action_space is None else action_space
        self.length = length
        self.reuses = reuses
        self.render_mode = render_mode
        self._last: Any = None
        self._count = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        self._count = 0
        return self._observe(), {"at": np.arange(2), "start": True}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self._count += 1
        reward: Any = self.np_random.standard_normal() + random.random() + np.random.random()
        if self._count % 4 == 3:
            reward = int(reward)
        _spoil(action)
        ends = self._count >= self.length
        info = {"count": self._count, "nested": {"noise": float(self.np_random.random())}, "text": "x" * self._count}
        return self._observe(), reward, ends and self.length % 2 == 0, ends and self.length % 2 == 1, info

    def _observe(self) -> Any:
        if not self.reuses:
            return self.observation_space.sample()
        _spoil(self._last)  # what was returned before is overwritten
        self._last = _reuse(self._last, self.observation_space.sample())
        return self._last


def _spoil(value: Any) -> None:
    if isinstance(value, np.ndarray) and value.flags.writeable:
        value[...] = 1
    elif isinstance(value, dict):
        for item in value.values():
            _spoil(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            _spoil(item)


def _reuse(buffer: Any, value: Any) -> Any:
    if isinstance(value, np.ndarray) and isinstance(buffer, np.ndarray):
        if (buffer.dtype, buffer.shape) == (value.dtype, value.shape) and buffer.flags.writeable:
            buffer[...] = value
            return buffer
    elif isinstance(value, dict) and isinstance(buffer, dict):
        for key, item in value.items():
            buffer[key] = _reuse(buffer.get(key), item)
        return buffer
    return value


class Log(gym.Wrapper):
    """Inside of the recorder: copies everything that passes, for each episode."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.episodes: list[dict[str, list[Any]]] = []

    def reset(self, **kwargs: Any) -> Any:
        observation, info = self.env.reset(**kwargs)
        names = ("actions", "rewards", "terminated", "truncated", "infos", "frames")
        self.episodes.append({"observations": [copy.deepcopy(observation)], **{name: [] for name in names}})
        self.episodes[-1]["infos"].append(copy.deepcopy(info))
        return observation, info

    def step(self, action: Any) -> Any:
        log = self.episodes[-1]
        log["actions"].append(copy.deepcopy(action))
        result = self.env.step(action)
        for name, value in zip(("observations", "rewards", "terminated", "truncated", "infos"), result, strict=True):
            log[name].append(copy.deepcopy(value))
        return result

    def render(self) -> Any:
        frame = self.env.render()
        self.episodes[-1]["frames"].append(np.array(frame))
        return frame
