"""One video being encoded, wherever that happens: frames in, a file and a report out, never an exception."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace.capture.mp4 import Mp4Writer
from robotrace.capture.ring import VideoSettings

__all__ = ["Encoding"]


class Encoding:
    """A video of one or several cameras. After a fault it goes on taking frames, and remembers why it keeps none.

    Args:
        path: The file; its folder is made.
        settings: Of all cameras.
        preset: Of libx264.
    """

    def __init__(self, path: Path, settings: VideoSettings, preset: str) -> None:
        self.preset = preset
        self._path = path
        self._error: str | None = None
        self._cameras: list[_Camera] = []
        self._writer: Mp4Writer | None = None
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            self._writer = Mp4Writer(
                path,
                settings.frame_duration_ns,
                preset=preset,
                max_edge=settings.max_edge,
                window_ns=settings.window_ns,
            )
        except Exception as exc:
            self._error = _text(exc)

    @property
    def frames(self) -> int:
        """Encoded so far, of all cameras."""
        return sum(track.frames for track in self._writer.tracks) if self._writer is not None else 0

    def add_camera(self, name: str, shape: tuple[int, int, int]) -> int:
        """A further camera of (H, W, 3) frames; returns its number."""
        camera = _Camera(name)
        self._cameras.append(camera)
        if self._writer is not None:
            try:
                camera.track = self._writer.add_camera(name, shape[1], shape[0])
            except Exception as exc:
                camera.error = _text(exc)
        return len(self._cameras) - 1

    def add(self, camera: int, frame: NDArray[np.uint8], t_ns: int) -> None:
        """The next frame of a camera; converted before this returns."""
        state = self._cameras[camera]
        if self._writer is None or state.track is None or state.error is not None:
            return
        try:
            self._writer.add(frame, t_ns, state.track)
        except Exception as exc:
            state.error = _text(exc)

    def close(self, cut_ns: int | None = None, *, orphaned: bool = False) -> dict[str, Any]:
        """Finish the file.

        Args:
            cut_ns: With a window: what is before this time is left out.
            orphaned: Nobody is left to say where to cut, so whoever salvages the steps has to cut them here:
                ``video.json`` beside the file, ``{"offset_ns"}``, is the episode's time at the video's 0.

        Returns:
            ``{"error", "preset", "offset_ns", "cameras": [{"name", "track", "width", "height", "frames", "error"}]}``.
        """
        offset_ns = 0
        if self._writer is not None:
            try:
                offset_ns = self._writer.close(cut_ns)
                if orphaned and offset_ns:
                    self._path.with_suffix(".json").write_text(json.dumps({"offset_ns": offset_ns}))
            except Exception as exc:
                self._error = self._error or _text(exc)
        return {
            "error": self._error,
            "preset": self.preset,
            "offset_ns": offset_ns,
            "cameras": [self._report(camera) for camera in self._cameras],
        }

    def _report(self, camera: _Camera) -> dict[str, Any]:
        report = {"name": camera.name, "track": camera.track, "frames": 0, "error": camera.error}
        if self._writer is not None and camera.track is not None:
            track = self._writer.tracks[camera.track]
            report |= {"width": track.width, "height": track.height, "frames": track.frames}
        return report


class _Camera:
    def __init__(self, name: str) -> None:
        self.name = name
        self.track: int | None = None
        self.error: str | None = None


def _text(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"
