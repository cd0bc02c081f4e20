"""What a frame of 480×640 costs the training thread, and what an episode's end costs it."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import gymnasium as gym
from worlds import Frames, balancing_actions

__all__ = ["measure"]


def measure(contestant: str, *, what: str, steps: int = 1000, episodes: int = 20) -> dict[str, Any]:
    """``what``: ``frame`` or ``end``."""
    return _frame(contestant, steps) if what == "frame" else _end(contestant, steps, episodes)


def _frame(contestant: str, steps: int) -> dict[str, Any]:
    """Per step: its whole time less the environment's own, of a world that takes 4 ms a step."""
    world = Frames(length=steps, step_s=0.004)
    env: Any = world
    if contestant == "ours":
        from robotrace_gymnasium import RoboTraceRecorder

        env = RoboTraceRecorder(env, video=True, video_trigger=1, max_per_minute=None)
    env.reset(seed=0)
    costs = []
    for _ in range(steps - 1):  # the last one ends the episode, which has a case of its own
        world.own_ns = 0
        began = time.perf_counter_ns()
        env.step(0)
        costs.append(time.perf_counter_ns() - began - world.own_ns)
    env.step(0)
    env.close()
    costs = sorted(costs[len(costs) // 10 :])  # until the encoder's process has started
    figures = {"p50_us": median(costs) / 1e3, "p99_us": costs[int(len(costs) * 0.99)] / 1e3}
    if contestant == "ours":
        figures |= _video_account()
    return figures


def _video_account() -> dict[str, float]:
    import robotrace
    from robotrace.deliver.spool import open_spool

    robotrace.flush()
    (entry,) = open_spool().sealed_episodes()
    video = ((entry.manifest() or {})["finalize"]["metadata"])["video"]
    return {"waited_ms": video["waited_s"] * 1e3, "frames_lost": video["frames_submitted"] - video["frames"]}


def _end(contestant: str, steps: int, episodes: int) -> dict[str, Any]:
    """``end_ms``: the last step over an ordinary one; ``ready_ms``: from there until the episode is sealed."""
    actions = balancing_actions(steps)
    mode = "rgb_array" if contestant == "ours-video" else None
    env: Any = gym.make("CartPole-v1", render_mode=mode, max_episode_steps=steps, disable_env_checker=True)
    if contestant != "bare":
        import robotrace
        from robotrace_gymnasium import RoboTraceRecorder

        env = RoboTraceRecorder(env, video=mode is not None, video_trigger=1, max_per_minute=None)
    ends, resets, ready = [], [], []
    for episode in range(episodes + 1):
        began = time.perf_counter_ns()
        env.reset(seed=0)
        reset_ns = time.perf_counter_ns() - began
        durations, last = [], time.perf_counter_ns()
        for action in actions:
            env.step(action)
            now = time.perf_counter_ns()
            durations.append(now - last)
            last = now
        if contestant != "bare":
            robotrace.flush()
        if episode:  # the first one starts threads and the encoder's process
            ready.append((time.perf_counter_ns() - last) / 1e6)
            ends.append((durations[-1] - median(durations)) / 1e6)
            resets.append(reset_ns / 1e6)
    env.close()
    return {"end_ms": median(ends), "end_max_ms": max(ends), "reset_ms": median(resets), "ready_ms": median(ready)}
