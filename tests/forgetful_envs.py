"""Made in a worker process that cannot import this package; in a module of its own, since a spawned one imports it."""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

import gymnasium as gym

__all__ = ["forgetful"]


def forgetful() -> Any:
    """In the worker this package cannot be imported, and was not."""
    if multiprocessing.parent_process() is not None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "robotrace"]:
            del sys.modules[name]
        sys.meta_path.insert(0, Refuses())
    return gym.make("CartPole-v1")


class Refuses:
    def find_spec(self, name: str, *_: Any) -> None:
        if name.partition(".")[0] == "robotrace":
            raise SystemExit("no such package")
