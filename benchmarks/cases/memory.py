"""How the trainer's memory grows, and what the encoder's process takes. MB (10^6 bytes); each in a fresh process."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

from worlds import Frames, balancing_actions, children_kib, endless, rss_kib

from cases.recorders import with_video

__all__ = ["measure"]


def measure(contestant: str, *, what: str, steps: int) -> dict[str, Any]:
    """``what``: ``frames`` (480×640), ``steps`` (of one episode) or ``episodes`` (of 500 steps)."""
    folder = tempfile.mkdtemp(prefix="robotrace-bench-")
    try:
        return _frames(contestant, steps, folder) if what == "frames" else _steps(contestant, what, steps)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _frames(contestant: str, steps: int, folder: str) -> dict[str, Any]:
    env: Any = Frames(length=steps)
    if contestant == "robotrace-dev":
        return _rollout(env, steps, folder)
    finish = env.close
    if contestant != "bare":
        env, finish = with_video(env, contestant, folder)
    growth, worker, base = 0, (0, 0), rss_kib()  # before the reset: the frame ring counts
    env.reset()
    for k in range(steps):
        env.step([0] if contestant == "vecvideo" else 0)
        if contestant == "bare":
            env.render()
        if k % 100 == 99:
            growth, worker = max(growth, rss_kib() - base), max(worker, children_kib())
    growth, worker = max(growth, rss_kib() - base), max(worker, children_kib())
    finish()
    growth = max(growth, rss_kib() - base)
    figures = {"growth_mb": growth * 1.024e-3}
    if contestant == "ours":
        figures |= {"worker_mb": worker[0] * 1.024e-3, "worker_rss_mb": worker[1] * 1.024e-3}
    return figures


def _rollout(env: Any, steps: int, folder: str) -> dict[str, Any]:
    from robotrace.adapters.gymnasium import encode_rollout

    seen = [rss_kib()]
    count = iter(range(steps))

    def policy(*_: Any) -> int:
        if next(count) % 100 == 99:
            seen.append(rss_kib())
        return 0

    encode_rollout(env, folder, policy=policy, seed=0, max_steps=steps, record_video=True)
    return {"growth_mb": (max(rss_kib(), *seen) - seen[0]) * 1.024e-3}


def _steps(contestant: str, what: str, steps: int) -> dict[str, Any]:
    import gymnasium as gym

    env: Any = (
        endless("CartPole-v1")
        if what == "steps"
        else gym.make("CartPole-v1", max_episode_steps=500, disable_env_checker=True)
    )
    actions = balancing_actions(500)
    if contestant == "ours":
        from robotrace_gymnasium import RoboTraceRecorder

        env = RoboTraceRecorder(env, video=False, max_per_minute=None)
    growth, base = 0, 0
    for k in range(steps // 500):
        if k == 0 or what == "episodes":
            env.reset(seed=0)
        for action in actions:
            env.step(action)
        if k == min(20, steps // 1000):
            base = rss_kib()
        elif base and k % 10 == 0:
            growth = max(growth, rss_kib() - base)
    env.close()
    if contestant == "ours":
        import robotrace

        robotrace.flush()
    return {"growth_mb": max(growth, rss_kib() - base) * 1.024e-3}
