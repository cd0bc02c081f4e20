"""What a test finds in the spool: sealed episodes with their arrays and frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from robotrace.capture.rows import read_arrays
from robotrace.deliver.spool import Spool, open_spool

__all__ = ["RecordedEpisode", "sealed"]


@dataclass
class RecordedEpisode:
    folder: Path
    manifest: dict[str, Any]

    @property
    def create(self) -> dict[str, Any]:
        return self.manifest["create"]

    @property
    def metadata(self) -> dict[str, Any]:
        return {**self.create["metadata"], **self.finalize.get("metadata", {})}

    @property
    def finalize(self) -> dict[str, Any]:
        return self.manifest["finalize"]

    def arrays(self, kind: str) -> dict[str, np.ndarray]:
        return read_arrays(self.folder / f"{kind}.npz")

    def frames(self) -> tuple[list[np.ndarray], list[float]]:
        """The decoded frames and their times in seconds."""
        with av.open(str(self.folder / "video.mp4")) as container:
            frames = list(container.decode(video=0))
            times = [float(frame.pts * frame.time_base) for frame in frames]
            return [frame.to_ndarray(format="rgb24") for frame in frames], times


def sealed(spool: Spool | None = None) -> list[RecordedEpisode]:
    """The sealed episodes of the test's spool, oldest first."""
    entries = sorted((spool or open_spool()).sealed_episodes(), key=lambda entry: entry.folder.name[1:])
    found = [RecordedEpisode(entry.folder, entry.manifest() or {}) for entry in entries]
    return sorted(found, key=lambda episode: episode.create["metadata"].get("episode_index", 0))
