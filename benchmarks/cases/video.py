"""A whole run with video: 1,000 steps of CartPole, the loop and the finishing of the file. Seconds."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
from worlds import balancing_actions, children_cpu_s

from cases.recorders import with_video

__all__ = ["measure"]


def measure(contestant: str, *, steps: int) -> dict[str, Any]:
    """``total_s``: loop and finish; ``cpu_s``: CPU of this process and its children in that time."""
    env: Any = gym.make("CartPole-v1", render_mode="rgb_array", max_episode_steps=steps, disable_env_checker=True)
    actions = balancing_actions(steps)
    folder = tempfile.mkdtemp(prefix="robotrace-bench-")
    try:
        cpu, began = time.process_time() + children_cpu_s(), time.perf_counter()
        if contestant == "robotrace-dev":
            _rollout(env, actions, folder)
            loop = time.perf_counter() - began
        else:
            loop = _loop(env, actions, contestant, folder, began)
        total, cpu = time.perf_counter() - began, time.process_time() + children_cpu_s() - cpu
        env.close()
        return {"total_s": total, "loop_s": loop, "cpu_s": cpu}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _loop(env: Any, actions: list[int], contestant: str, folder: str, began: float) -> float:
    if contestant == "bare":  # renders, as whoever wants a video has to
        env.reset(seed=0)
        env.render()
        for action in actions:
            env.step(action)
            env.render()
        return time.perf_counter() - began
    if contestant == "lerobot":
        return _with_lerobot(env, actions, folder, began)
    recorded, finish = with_video(env, contestant, folder)
    if contestant == "vecvideo":
        recorded.seed(0)
        recorded.reset()
        for action in actions:
            recorded.step([action])
    else:
        recorded.reset(seed=0)
        for action in actions:
            recorded.step(action)
    loop = time.perf_counter() - began
    finish()
    return loop


def _rollout(env: Any, actions: list[int], folder: str) -> None:
    from robotrace.adapters.gymnasium import encode_rollout

    coming = iter(actions)
    encode_rollout(env, folder, policy=lambda *_: next(coming), seed=0, max_steps=len(actions), record_video=True)


def _with_lerobot(env: Any, actions: list[int], folder: str, began: float) -> float:
    import numpy as np
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    observation, _ = env.reset(seed=0)
    features = {
        "observation.state": {"dtype": "float32", "shape": (4,), "names": None},
        "observation.images.render": {"dtype": "video", "shape": env.render().shape, "names": ["h", "w", "c"]},
        "action": {"dtype": "int64", "shape": (1,), "names": None},
    }
    dataset = LeRobotDataset.create("bench/cartpole", 50, features, root=Path(folder) / "dataset")
    for action in actions:
        dataset.add_frame({
            "observation.state": np.asarray(observation, np.float32),
            "observation.images.render": env.render(),
            "action": np.array([action], np.int64),
            "task": "balance",
        })  # fmt: skip
        observation = env.step(action)[0]
    loop = time.perf_counter() - began
    dataset.save_episode()
    if hasattr(dataset, "finalize"):
        dataset.finalize()
    return loop
