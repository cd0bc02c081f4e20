"""What video costs the loop: none, left for later, made at once. Microseconds a step of the same environment."""

from __future__ import annotations

import shutil
import tempfile
import time
from typing import Any

import gymnasium as gym
from worlds import actions_for, balancing_actions, children_cpu_s, endless

from cases.recorders import with_video

__all__ = ["measure"]

_RENDERING = ("renders", "live", "recordvideo")
_OURS: dict[str, dict[str, Any]] = {
    "sensors": {"video": False, "video_trigger": None},
    "deferred": {"video": "deferred", "video_trigger": None},
    "live": {},
}


def measure(contestant: str, *, env_id: str, steps: int) -> dict[str, Any]:
    """``wall_us``, ``thread_us``: the loop, by the clock and by its thread's CPU time; ``total_us``, ``cpu_us``: until
    the file is ready, by the clock and by the CPU time of this process and its children.

    Only who makes pictures has an environment made for them; no episode ends in the loop.
    """
    env, actions = _world(env_id, steps, "rgb_array" if contestant in _RENDERING else None)
    folder = tempfile.mkdtemp(prefix="robotrace-bench-")
    try:
        finish = env.close
        if contestant not in ("bare", "renders"):
            who = "ours" if contestant in _OURS else contestant
            env, finish = with_video(env, who, folder, **_OURS.get(contestant, {}))
        env.reset(seed=0)
        renders = contestant == "renders"
        cpu, thread, began = _cpu_ns(), time.thread_time_ns(), time.perf_counter_ns()
        for action in actions:
            env.step(action)
            if renders:
                env.render()
        wall, thread = time.perf_counter_ns() - began, time.thread_time_ns() - thread
        finish()
        total, cpu = time.perf_counter_ns() - began, _cpu_ns() - cpu
        spent = {"wall_us": wall, "thread_us": thread, "total_us": total, "cpu_us": cpu}
        return {name: value / steps / 1e3 for name, value in spent.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _world(env_id: str, steps: int, render_mode: str | None) -> tuple[Any, list[Any]]:
    if env_id.startswith("CartPole"):  # upright all the way, so that there is something to see in each picture
        env = gym.make(env_id, render_mode=render_mode, max_episode_steps=10**9, disable_env_checker=True)
        return env, balancing_actions(steps)
    env = endless(env_id)
    return env, actions_for(env, steps)


def _cpu_ns() -> float:
    return time.process_time_ns() + children_cpu_s() * 1e9
