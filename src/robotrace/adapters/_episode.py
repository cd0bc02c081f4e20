"""An episode as files, as every adapter returns it."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robotrace.deliver.files import is_disk_full
from robotrace.errors import ConfigurationError, RobotraceError
from robotrace.ingest import ArtifactKind

__all__ = ["FILES", "EncodedArtifact", "EncodedEpisode", "reading", "require"]

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
        failure_time_s: When it failed, on its own clock; None where the recording does not say.
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
    failure_time_s: float | None = None

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


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Around a parser of files: what it says of one that is broken becomes one clear line.

    Args:
        what: The file, or the part of it.

    Raises:
        RobotraceError: Instead of whatever the parser raises.
    """
    try:
        yield
    except (RobotraceError, MemoryError):
        raise
    except FileNotFoundError as exc:
        raise RobotraceError(f"{what} is missing") from exc
    except Exception as exc:  # damaged bytes come out of the parsers as nearly anything
        if is_disk_full(exc):
            raise
        text = " ".join(str(exc).split()) or type(exc).__name__
        raise RobotraceError(f"{what} cannot be read: {text}") from exc
