"""Episodes that can be run again, and what the tests do with them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CARTPOLE", "cartpole_arrays", "reproduce", "verdict"]

CARTPOLE = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"


def reproduce(entry_point: str = CARTPOLE, **more: Any) -> dict[str, Any]:
    """The ``reproduce`` block of an episode whose seed is 3, as the recorder writes it."""
    spec = {"entry_point": entry_point, "id": "CartPole-v1", "kwargs": {}, "additional_wrappers": []}
    block = {
        "reproducible": True,
        "seed": 3,
        "resets_since_seed": 0,
        "env_spec": {**spec, "max_episode_steps": 500},
        "versions": {"gymnasium": "1.4.0"},
    }
    return {**block, **more}


def verdict(kind: str = "reproduced", **more: Any) -> dict[str, Any]:
    """A verdict as it goes over the wire."""
    return {"verdict": kind, "steps": 12, "total_steps": 12, "checked_by": "robotrace 0.4.0", **more}


def cartpole_arrays(steps: int = 20) -> dict[str, dict[str, NDArray[Any]]]:
    """What the recorder would have written of CartPole-v1 with seed 3, pushed right and left in turn."""
    import gymnasium

    env = gymnasium.make("CartPole-v1")
    observation, _ = env.reset(seed=3)
    observations, rewards, terminated, truncated = [observation], [], [], []
    actions = np.arange(steps) % 2
    for action in actions:
        observation, reward, *flags, _ = env.step(int(action))
        observations.append(observation)
        rewards.append(reward)
        terminated.append(flags[0])
        truncated.append(flags[1])
    env.close()
    stamps = np.arange(steps + 1) * 20_000_000
    sensors = {
        "observation": (np.array(observations), stamps),
        "reward": (np.array(rewards), stamps[1:]),
        "terminated": (np.array(terminated), stamps[1:]),
        "truncated": (np.array(truncated), stamps[1:]),
    }
    return {"sensors": _npz(sensors, stamps), "actions": _npz({"action": (actions, stamps[:-1])}, None)}


def _npz(streams: dict[str, tuple[NDArray[Any], NDArray[Any]]], clock: NDArray[Any] | None) -> dict[str, NDArray[Any]]:
    arrays = {} if clock is None else {"wall_clock/value": clock, "wall_clock/_t_ns": clock}
    for name, (values, stamps) in streams.items():
        arrays[f"{name}/value"] = values
        arrays[f"{name}/_t_ns"] = stamps
    return arrays
