"""The rollouts of ``robotrace demo``: CartPole under a policy that balances the pole and one that does not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym

from robotrace_gymnasium.recorder import RoboTraceRecorder

__all__ = ["ReportsSuccess", "cartpole"]


class ReportsSuccess(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Says in the last step's info whether the pole stood until the time was up, as many robot envs do."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def step(self, action: Any) -> Any:
        """As the environment's; ``is_success`` in the last info."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated or truncated:
            info = {**info, "is_success": bool(truncated and not terminated)}
        return observation, reward, terminated, truncated, info


def _balanced(observation: Any) -> int:
    """Position, velocity, angle and its rate, weighed: stands for 500 steps."""
    position, velocity, angle, rate = observation
    return int(0.05 * position + 0.2 * velocity + 1.0 * angle + 0.6 * rate > 0)


def _angle_only(observation: Any) -> int:
    """Pushes to where the pole leans, and so swings it ever wider: falls within a second."""
    return int(observation[2] > 0)


_POLICIES: dict[str, Callable[[Any], int]] = {"pole-pd-v2": _balanced, "pole-angle-v1": _angle_only}


def cartpole(episodes: int) -> Iterator[str]:
    """Record ``episodes`` episodes, the policies in turn, each with video.

    Yields:
        The policy version after each finished episode.
    """
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws into memory; no display is asked for
    env = RoboTraceRecorder(
        ReportsSuccess(gym.make("CartPole-v1", render_mode="rgb_array")),
        video_trigger=1,
        max_per_minute=None,
        metadata={"task": "balance the pole"},
    )
    for index in range(episodes):
        version = list(_POLICIES)[index % len(_POLICIES)]
        policy = _POLICIES[version]
        env.recorder.set(policy_version=version)
        observation, _ = env.reset(seed=index)
        done = False
        while not done:
            observation, _, terminated, truncated, _ = env.step(policy(observation))
            done = terminated or truncated
        yield version
    env.close()
