"""Environments for trainings of Stable-Baselines3 that log the truth by themselves, and what is compared with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from recorded import RecordedEpisode
from vector_envs import DiaryEnv, read_diary

__all__ = ["TrainingEnv", "assert_episode", "assert_recorded", "makers"]


class TrainingEnv(DiaryEnv):
    """:class:`DiaryEnv` with the spaces that SB3 can learn with; rewards that a float32 cannot hold.

    ``raises_at`` names (episode, step), both from 0. With ``reuses`` its observations share one buffer: not for
    ``SubprocVecEnv``, whose workers send the last observation after the reset has overwritten it.
    """

    def __init__(
        self,
        diary: str,
        index: int,
        kind: str = "box",
        actions: str = "box",
        render_mode: str | None = None,
        raises_at: tuple[int, int] | None = None,
        reuses: bool = True,
    ) -> None:
        super().__init__(diary, index, "box", render_mode)
        self.kind = kind
        self.raises_at = raises_at
        self.reuses = reuses
        self.episode = -1
        box = gym.spaces.Box(-10, 10, (3,), np.float32)
        self.observation_space = {
            "box": box,
            "image": gym.spaces.Box(0, 255, (36, 36, 3), np.uint8),
            "dict": gym.spaces.Dict({"pose": box, "goal": gym.spaces.Box(-10, 10, (2,), np.float32)}),
        }[kind]
        self.action_space = gym.spaces.Discrete(3) if actions == "discrete" else gym.spaces.Box(-1, 1, (2,), np.float32)
        self._image = np.zeros((36, 36, 3), np.uint8)

    def _observe(self) -> Any:
        if not self.reuses:
            self._pose, self._image = self._pose.copy(), self._image.copy()
        self._pose[:] = self.np_random.standard_normal(3)
        self.shown = int(self.np_random.integers(0, 2**15))
        if self.kind == "image":
            self._image[:] = self.np_random.integers(0, 256, self._image.shape)
            return self._image
        return {"pose": self._pose, "goal": self._pose[:2]} if self.kind == "dict" else self._pose

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.episode += 1
        self.fails_at = self.raises_at[1] if self.raises_at and self.raises_at[0] == self.episode else None
        return super().reset(seed=seed, options=options)

    def action_masks(self) -> np.ndarray:
        return np.array([True, False, True])


def makers(folder: Path, count: int, *, wrap: Callable[[Any], Any] | None = None, **kwargs: Any) -> list[Any]:
    """For a ``VecEnv`` of ``count`` of them, each in SB3's ``Monitor`` as ``make_vec_env`` does it."""
    folder.mkdir(exist_ok=True)

    def maker(index: int) -> Callable[[], Any]:
        def make() -> Any:
            from stable_baselines3.common.monitor import Monitor

            env: Any = TrainingEnv(str(folder), index, **kwargs)
            return Monitor(env if wrap is None else wrap(env))

        return make

    return [maker(index) for index in range(count)]


def assert_recorded(
    found: list[RecordedEpisode], folder: Path, count: int, *, exact: bool = True
) -> dict[int, list[list[dict[str, Any]]]]:
    """Every episode that ended is recorded once, and as the environment has written it down.

    Args:
        found: The recorded ones.
        folder: Of the diaries.
        count: How many environments.
        exact: Rewards have the environment's own precision.

    Returns:
        The diary of each environment's episodes that ended.
    """
    truth: dict[int, list[list[dict[str, Any]]]] = {}
    for index in range(count):
        episodes = read_diary(folder, index)
        truth[index] = ended = [one for one in episodes if one[-1].get("terminated") or one[-1].get("truncated")]
        recorded = [one for one in found if one.metadata["vector"]["index"] == index]
        assert len({one.metadata["episode_index"] for one in recorded}) == len(recorded)
        assert len(recorded) == len(ended), (index, len(recorded), len(ended))
        for episode, log in zip(recorded, ended, strict=True):
            assert_episode(episode, log)
    assert len(found) == sum(map(len, truth.values()))
    return truth


def assert_episode(episode: RecordedEpisode, log: list[dict[str, Any]]) -> None:
    """A recorded episode is what the environment has written down."""
    first, *steps = log
    sensors, actions = episode.arrays("sensors"), episode.arrays("actions")
    if isinstance(first["observation"], dict):
        for key in first["observation"]:
            np.testing.assert_array_equal(
                sensors[f"observation.{key}/value"],
                np.asarray([entry["observation"][key] for entry in log], sensors[f"observation.{key}/value"].dtype),
            )
    else:
        values = sensors["observation/value"]
        np.testing.assert_array_equal(values, np.asarray([entry["observation"] for entry in log], values.dtype))
    np.testing.assert_array_equal(
        actions["action/value"], np.asarray([entry["action"] for entry in steps], actions["action/value"].dtype)
    )
    assert sensors["reward/value"].tolist() == [entry["reward"] for entry in steps]
    assert sensors["reward/value"].dtype == np.float64
    for flag in ("terminated", "truncated"):
        assert sensors[f"{flag}/value"].tolist() == [entry[flag] for entry in steps]
    outcome = episode.metadata["outcome"]
    assert (outcome["steps"], outcome["terminated"], outcome["truncated"]) == (
        len(steps),
        steps[-1]["terminated"],
        steps[-1]["truncated"],
    )
    assert outcome["success"] == steps[-1]["info"]["is_success"]
    assert "incomplete" not in episode.metadata
    assert "segments" not in episode.metadata
