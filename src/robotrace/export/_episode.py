"""What is exported, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace.errors import RobotraceError

__all__ = ["REPRODUCIBILITY", "ExportError", "Exported", "ExportedEpisode", "Window"]

REPRODUCIBILITY = ("policy_version", "env_version", "git_sha", "seed")


class ExportError(RobotraceError):
    """An episode that cannot be exported; nothing is left behind then."""


@dataclass(frozen=True)
class ExportedEpisode:
    """An episode whose files are on this machine.

    Attributes:
        episode_id: Its id, or what else it is known by.
        about: Its fields as a deployment answers them: ``name``, ``status``, ``policy_version``, ``failure_time_s``,
            ``findings``, …
        metadata: Its metadata.
        files: Its files by slot: ``sensors``, ``actions``, ``video``, ``video.<camera>``.
    """

    episode_id: str
    about: Mapping[str, Any]
    metadata: Mapping[str, Any]
    files: Mapping[str, Path]


@dataclass(frozen=True)
class Window:
    """A part of an episode.

    Attributes:
        start_ns: The first time, on the episode's clock; None: from the beginning.
        end_ns: The last time, which is in it; None: to the end.
        streams: Only these; None: all of them.
    """

    start_ns: int | None = None
    end_ns: int | None = None
    streams: frozenset[str] | None = None

    def inside(self, t_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some times are in it."""
        found = np.ones(len(t_ns), np.bool_)
        if self.start_ns is not None:
            found &= t_ns >= self.start_ns
        if self.end_ns is not None:
            found &= t_ns <= self.end_ns
        return found


@dataclass
class Exported:
    """What was written.

    Attributes:
        path: The file.
        size: Of it, in bytes.
        streams: How many streams and cameras are in it.
        left_out: Why others are not, by name.
    """

    path: Path
    size: int = 0
    streams: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
