"""Vector environments that log the truth by themselves, in every process, and look-alikes of batched simulators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium_envs import barcode

__all__ = ["BatchedSim", "DiaryEnv", "Freeze", "TensorLike", "modes", "read_diary", "vectorize"]

VERSION = tuple(int(part) for part in gym.__version__.split(".")[:2])
modes = {(0, 29): ["SameStep"], (1, 0): ["NextStep"]}.get(VERSION, ["NextStep", "SameStep", "Disabled"])
"""What Sync and Async of this Gymnasium can do."""


class DiaryEnv(gym.Env):
    """Writes every reset and step to a file of its own, whatever process it lives in.

    Ends after 2 to 7 steps, drawn anew in each episode; reuses its observation buffer. ``kind`` names the space.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}  # noqa: RUF012 - Gymnasium's form

    def __init__(self, diary: str, index: int, kind: str = "box", render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.diary = Path(diary) / f"{index}.jsonl"
        self.index = index
        self.kind = kind
        box = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.observation_space = {
            "box": box,
            "image": gym.spaces.Box(0, 255, (12, 9, 3), np.uint8),
            "dict": gym.spaces.Dict({"pose": box, "deep": gym.spaces.Tuple((gym.spaces.Discrete(9), box))}),
            "text": gym.spaces.Dict({"pose": box, "say": gym.spaces.Text(12)}),
        }[kind]
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float64)
        self._pose = np.zeros(3, np.float32)
        self._image = np.zeros((12, 9, 3), np.uint8)
        self.shown = 0
        self.fails_at: int | None = None

    def _observe(self) -> Any:
        self._pose[:] = self.np_random.standard_normal(3)
        self._image[:] = self.np_random.integers(0, 256, (12, 9, 3))
        self.shown = int(self.np_random.integers(0, 2**15))
        if self.kind == "box":
            return self._pose
        if self.kind == "image":
            return self._image
        if self.kind == "dict":
            return {"pose": self._pose, "deep": (int(self.np_random.integers(9)), self._pose)}
        return {"pose": self._pose, "say": "a" * int(self.np_random.integers(1, 9))}

    def _write(self, **entry: Any) -> None:
        with self.diary.open("a") as file:
            file.write(json.dumps(entry, default=lambda value: np.asarray(value).tolist()) + "\n")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        self._length = int(self.np_random.integers(2, 8))
        observation = self._observe()
        self._write(reset=True, observation=observation, seed=seed, shown=self.shown)
        return observation, {"fresh": True}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self._step == self.fails_at:
            raise RuntimeError(f"gripper {self.index} is on fire")
        self._step += 1
        reward = float(self.np_random.random())
        done = self._step >= self._length
        truncated = done and self._length % 2 == 0
        observation = self._observe()
        info = {"is_success": self._length > 4, "count": self._step} if done else {"count": self._step}
        self._write(
            observation=observation,
            action=action,
            reward=reward,
            terminated=done and not truncated,
            truncated=truncated,
            info=info,
            shown=self.shown,
        )
        return observation, reward, done and not truncated, truncated, info

    def render(self) -> np.ndarray:
        return barcode(self.shown)


def read_diary(folder: Path, index: int) -> list[list[dict[str, Any]]]:
    """The episodes an env has written down, each a list of entries; the first one is its reset."""
    episodes: list[list[dict[str, Any]]] = []
    for line in (folder / f"{index}.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry.get("reset"):
            episodes.append([])
        episodes[-1].append(entry)
    return episodes


def vectorize(
    folder: Path, count: int, *, how: str = "sync", mode: str = "NextStep", copy: bool = True, **kwargs: Any
) -> Any:
    """``count`` of :class:`DiaryEnv`, in this process or in others."""
    folder.mkdir(exist_ok=True)
    functions = [lambda i=i: DiaryEnv(str(folder), i, **kwargs) for i in range(count)]
    chosen = {} if len(modes) == 1 else {"autoreset_mode": mode}
    if how == "sync":
        return gym.vector.SyncVectorEnv(functions, copy=copy, **chosen)
    text = kwargs.get("kind") == "text"
    return gym.vector.AsyncVectorEnv(functions, copy=copy, shared_memory=not text, context="fork", **chosen)


class Freeze(gym.Wrapper):
    """As LeRobot's ``FreezeAfterEpisodeEnd``: repeats the end of an episode until a reset says that it is a new one."""

    frozen: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if self.frozen is not None and not (options or {}).get("new"):
            return self.frozen[0], {}
        self.frozen = None
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        if self.frozen is None:
            observation, reward, terminated, truncated, info = self.env.step(action)
            if terminated or truncated:
                self.frozen = (np.copy(observation), 0.0, terminated, truncated, info)
            return observation, reward, terminated, truncated, info
        return self.frozen


class TensorLike:
    """As much of a torch tensor on another device as the recorder may use: it counts what leaves the device."""

    moved = 0

    def __init__(self, values: Any, on_device: bool = True) -> None:
        self._values = np.asarray(values)
        self._on_device = on_device

    @property
    def shape(self) -> tuple[int, ...]:
        return self._values.shape

    def __getitem__(self, index: Any) -> TensorLike:
        return TensorLike(self._values[index], self._on_device)

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("not from this device")

    def reshape(self, *shape: int) -> TensorLike:
        return TensorLike(self._values.reshape(*shape), self._on_device)

    def detach(self) -> TensorLike:
        return self

    def cpu(self) -> TensorLike:
        type(self).moved += self._values.nbytes
        return TensorLike(self._values, on_device=False)

    def numpy(self) -> np.ndarray:
        assert not self._on_device, "a tensor on another device has no numpy()"
        return self._values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.numpy()


class BatchedSim(gym.Env):
    """As Isaac Lab and ManiSkill: an Env of many, tensors in buffers that are used again, resets within the step."""

    metadata: dict[str, Any] = {"render_fps": 20}  # noqa: RUF012 - Gymnasium's form
    step_dt = 0.02

    def __init__(self, count: int, final_key: str | None = "final_obs", tensor: Any = TensorLike) -> None:
        self.num_envs = count
        self.is_vector_env = True
        self.final_key = final_key
        self.tensor = tensor
        self.single_observation_space = gym.spaces.Dict({"policy": gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)})
        self.single_action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, count)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, count)
        self._buffer = np.zeros((count, 2), np.float32)
        self._steps = np.zeros(count, int)
        self._episodes = np.zeros(count, int)
        self.truth: list[list[list[float]]] = [[] for _ in range(count)]

    def _observe(self, rows: Any) -> None:
        self._buffer[rows, 0] = self._episodes[rows]
        self._buffer[rows, 1] = self._steps[rows]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        chosen = (options or {}).get("env_idx", np.arange(self.num_envs))
        self._episodes[chosen] += 1
        self._steps[chosen] = 0
        self._observe(chosen)
        return {"policy": self.tensor(self._buffer)}, {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self._steps += 1
        self._observe(slice(None))
        done = self._steps >= 3 + np.arange(self.num_envs) % 3
        info: dict[str, Any] = {}
        if done.any() and self.final_key is not None:
            info[self.final_key] = {"policy": self.tensor(self._buffer.copy())}
        rewards = self.tensor(self._steps.astype(np.float32).reshape(-1, 1))
        if done.any():
            self.reset(options={"env_idx": np.flatnonzero(done)})
        flags = self.tensor(done.reshape(-1, 1)), self.tensor(np.zeros((self.num_envs, 1), bool))
        return {"policy": self.tensor(self._buffer)}, rewards, *flags, info
