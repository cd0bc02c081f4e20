"""Putting a recorder with video around an environment, ours and the peers', alike for all cases with pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["with_video"]


def with_video(env: Any, contestant: str, folder: str, **options: Any) -> tuple[Any, Callable[[], None]]:
    """Record every episode with video.

    Args:
        env: With ``render_mode="rgb_array"``.
        contestant: ``ours``, ``recordvideo`` or ``vecvideo`` (which gives a vector environment of one).
        folder: Where the peers write.
        **options: Further options of ours, over those.

    Returns:
        The recorded environment, and what ends the recording; the file is ready when it returns.
    """
    if contestant == "ours":
        import robotrace
        from robotrace_gymnasium import RoboTraceRecorder

        env = RoboTraceRecorder(env, **{"video": True, "video_trigger": 1, "max_per_minute": None, **options})

        def finish() -> None:
            env.close()
            if not robotrace.flush():
                raise RuntimeError("the video was not sealed within a minute")

        return env, finish
    if contestant == "recordvideo":
        import gymnasium as gym

        env = gym.wrappers.RecordVideo(env, folder, episode_trigger=lambda _: True)
        return env, env.close
    if contestant == "vecvideo":
        from stable_baselines3.common.vec_env import DummyVecEnv, VecVideoRecorder

        env = VecVideoRecorder(DummyVecEnv([lambda e=env: e]), folder, lambda step: step == 0, video_length=10**9)
        return env, env.close
    raise ValueError(contestant)
