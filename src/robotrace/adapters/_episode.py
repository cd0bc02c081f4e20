"""An episode as files, as every adapter returns it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robotrace.errors import ConfigurationError
from robotrace.ingest import ArtifactKind

__all__ = ["FILES", "EncodedArtifact", "EncodedEpisode", "require"]

FILES: dict[ArtifactKind, str] = {"video": "video.mp4", "sensors": "sensors.npz", "actions": "actions.npz"}


@dataclass
class EncodedArtifact:
    """One file.

    Attributes:
        slot: ``video``, ``sensors`` or ``actions``.
        path: Where it is.
        bytes_size: Its size.
    """

    slot: str
    path: Path
    bytes_size: int


@dataclass
class EncodedEpisode:
    """An episode in files.

    Attributes:
        output_dir: Their folder.
        summary: What the adapter's ``scan_*`` said of the recording it is from.
        video: ``video.mp4``, a track a camera; None without video.
        sensors: ``sensors.npz``; None without any.
        actions: ``actions.npz``; None without any.
        duration_s: From the first stamp to the last.
        fps: Of the recording; None where it has no rate of its own.
        metadata: The outcome, as far as the recording tells, and where from the episode comes.
        recorded_ns: When it began, in ns since 1970; None where the recording does not say.
    """

    output_dir: Path
    summary: Any = None
    video: EncodedArtifact | None = None
    sensors: EncodedArtifact | None = None
    actions: EncodedArtifact | None = None
    duration_s: float | None = None
    fps: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    recorded_ns: int | None = None

    @property
    def files(self) -> dict[ArtifactKind, Path]:
        """The paths by slot, of those that are there."""
        slots: dict[ArtifactKind, EncodedArtifact | None]
        slots = {"video": self.video, "sensors": self.sensors, "actions": self.actions}
        return {kind: artifact.path for kind, artifact in slots.items() if artifact is not None}


def require(adapter: str, packages: Sequence[str]) -> None:
    """Whether what an adapter needs is installed.

    Args:
        adapter: Its name, which is that of its extra too.
        packages: As they are imported.

    Raises:
        ConfigurationError: It is not; the message says how to get it.
    """
    for name in packages:
        if importlib.util.find_spec(name) is None:
            raise ConfigurationError(
                f"robotrace.adapters.{adapter} needs {name}; run: pip install 'robotrace-dev[{adapter}]'"
            )
