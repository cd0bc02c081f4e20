"""Stable-Baselines3 on eight CartPoles: the whole training. Seconds, and the weights it ends with."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from worlds import children_cpu_s

__all__ = ["measure"]

_SENSORS: dict[str, Any] = {"video": False, "max_per_minute": None}
_OPTIONS: dict[str, dict[str, Any]] = {
    "ours-sensors": _SENSORS,
    "ours-defaults": {},
    "ours-cubic": {"video_trigger": "cubic", "max_per_minute": None},
    "ours-deferred": {"video": "deferred", "max_per_minute": None},
    "ours-every": {"video_trigger": 1, "max_per_minute": None},
}


_ALGORITHMS: dict[str, dict[str, Any]] = {
    "PPO": {"n_steps": 256, "batch_size": 256},
    "DQN": {"learning_starts": 1000},
}


def measure(contestant: str, *, steps: int, envs: int = 8, algorithm: str = "PPO") -> dict[str, Any]:
    """Pictures come from the first environment only, except with nothing set, left for later (where they cost nothing
    now) and of SB3's recorder (all in one).

    ``loop_s``, ``steps_per_s``: the training; ``total_s``, ``cpu_s``: until every file is ready.
    """
    import stable_baselines3
    import torch
    from stable_baselines3.common.vec_env import DummyVecEnv

    torch.set_num_threads(1)
    folder = tempfile.mkdtemp(prefix="robotrace-bench-")
    try:
        venv: Any = DummyVecEnv([_maker(contestant, index, folder) for index in range(envs)])
        if contestant == "vecvideo-cubic":
            from stable_baselines3.common.vec_env import VecVideoRecorder

            venv = VecVideoRecorder(venv, folder, _is_cube, video_length=200)
        make = getattr(stable_baselines3, algorithm)
        model = make("MlpPolicy", venv, seed=0, device="cpu", **_ALGORITHMS[algorithm])
        callback = None
        if contestant == "callback":
            from robotrace_sb3 import RoboTraceCallback

            callback = RoboTraceCallback()
        cpu, began = time.process_time() + children_cpu_s(), time.perf_counter()
        model.learn(steps, callback=callback)
        loop = time.perf_counter() - began
        venv.close()
        if contestant.startswith(("ours", "callback")):
            import robotrace

            robotrace.flush()
        total, cpu = time.perf_counter() - began, time.process_time() + children_cpu_s() - cpu
        weights = b"".join(value.numpy().tobytes() for value in model.policy.state_dict().values())
        digest = hashlib.sha256(weights).hexdigest()[:16]
        return {"total_s": total, "loop_s": loop, "steps_per_s": steps / loop, "cpu_s": cpu, "weights": digest}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _maker(contestant: str, index: int, folder: str) -> Callable[[], gym.Env[Any, Any]]:
    # SB3 wants one render mode for all; whoever can choose renders the first one only.
    mode = "rgb_array" if contestant.endswith(("-cubic", "-every", "-defaults", "callback")) else None

    def make() -> gym.Env[Any, Any]:
        from stable_baselines3.common.monitor import Monitor

        env: Any = gym.make("CartPole-v1", render_mode=mode)
        if contestant in _OPTIONS:
            from robotrace_gymnasium import RoboTraceRecorder

            chosen = index == 0 or contestant in ("ours-defaults", "ours-deferred")
            env = RoboTraceRecorder(env, **(_OPTIONS[contestant] if chosen else _SENSORS))
        elif contestant == "minari":
            import minari

            env = minari.DataCollector(env)
        elif contestant.startswith("recordvideo") and index == 0:
            every = contestant == "recordvideo-every"
            env = gym.wrappers.RecordVideo(env, folder, episode_trigger=lambda number: every or _is_cube(number))
        return Monitor(env)

    return make


def _is_cube(number: int) -> bool:
    """The rule of RecordVideo's default, without its "every thousandth" beyond 1,000."""
    return round(number ** (1 / 3)) ** 3 == number
