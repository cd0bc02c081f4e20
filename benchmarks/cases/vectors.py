"""One step of a vector environment. Microseconds a vector step, and vector steps a second."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
from worlds import endless

__all__ = ["measure"]


def _make() -> gym.Env[Any, Any]:
    return endless("CartPole-v1")


def measure(contestant: str, *, kind: str, envs: int, steps: int) -> dict[str, Any]:
    """No episode ends in it; every environment is recorded (except ``defaults``: what a user gets who sets nothing)."""
    if kind == "subproc":
        from stable_baselines3.common.vec_env import SubprocVecEnv

        venv: Any = SubprocVecEnv([_make] * envs, start_method="forkserver")
    else:
        vector = {"sync": gym.vector.SyncVectorEnv, "async": gym.vector.AsyncVectorEnv}[kind]
        venv = vector([_make] * envs)
    try:
        single = gym.spaces.Discrete(2, seed=0)
        import numpy as np

        batches = [np.array([single.sample() for _ in range(envs)]) for _ in range(64)]
        venv = _recorded(venv, contestant, kind)
        venv.reset() if kind == "subproc" else venv.reset(seed=0)
        cpu, thread, began = time.process_time_ns(), time.thread_time_ns(), time.perf_counter_ns()
        for k in range(steps):
            venv.step(batches[k & 63])
        wall, thread = time.perf_counter_ns() - began, time.thread_time_ns() - thread
    finally:
        venv.close()
    if contestant != "bare":
        import robotrace

        robotrace.flush()
    cpu = time.process_time_ns() - cpu
    spent = {"wall_us": wall, "thread_us": thread, "cpu_us": cpu}
    return {"steps_per_s": steps / wall * 1e9} | {name: value / steps / 1e3 for name, value in spent.items()}


def _recorded(venv: Any, contestant: str, kind: str) -> Any:
    if contestant == "bare":
        return venv
    options = {} if contestant == "defaults" else {"video": False, "max_per_minute": None}
    if kind == "subproc":
        import robotrace

        return robotrace.attach(venv, **options)
    from robotrace_gymnasium import RoboTraceRecorder

    return RoboTraceRecorder(venv, **options)
