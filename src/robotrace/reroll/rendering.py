"""The video of an episode that runs again, in the form in which a live recording would have made it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robotrace.capture.cameras import RENDER
from robotrace.capture.encoding import Encoding
from robotrace.capture.frames import as_rgb
from robotrace.capture.presets import FIRST_PRESET
from robotrace.capture.recording import FALLBACK_FRAME_NS
from robotrace.capture.rendering import find_renderer
from robotrace.capture.ring import VideoSettings
from robotrace.reroll.jobs import MadeVideo, VideoRequest

__all__ = ["NotRendered", "VideoMaker"]


class NotRendered(Exception):
    """There is no video; the text says why."""


class VideoMaker:
    """Makes the video of one run.

    Args:
        env: Built with ``render_mode="rgb_array"``.
        request: What is wanted.
        stamps_ns: When each observation was seen, on the episode's clock (N + 1).
        fps: Steps a second of the episode; None where nobody knows.

    Raises:
        NotRendered: The env renders no pictures, or no file can be written.
    """

    def __init__(self, env: Any, request: VideoRequest, stamps_ns: Sequence[int], fps: float | None) -> None:
        renderer = find_renderer(env)
        if renderer is None:
            raise NotRendered("the environment renders no pictures (render_mode='rgb_array')")
        if not stamps_ns:
            raise NotRendered("the recording does not say when its observations were seen")
        self._renderer = renderer
        self._request = request
        self._stamps_ns = stamps_ns
        self._frame_ns = round(1e9 / fps) if fps else FALLBACK_FRAME_NS
        self._next_ns = 0
        self._shape: tuple[int, ...] | None = None
        self._path = Path(request.path)
        self._part = self._path.with_name(f"{self._path.name}.part")
        settings = VideoSettings(self._frame_ns, max_edge=request.max_edge)
        self._encoding = Encoding(self._part, settings, request.preset or FIRST_PRESET)

    def picture(self, step: int) -> None:
        """The env shows what it is after this step.

        Raises:
            NotRendered: It cannot be rendered.
        """
        if not self._is_wanted(step):
            return
        try:
            frame = as_rgb(self._renderer.picture())
        except Exception as exc:  # no GL, a broken renderer, no image
            raise NotRendered(f"rendering step {step} failed: {type(exc).__name__}: {exc}") from exc
        if self._shape is None:
            self._shape = frame.shape
            self._encoding.add_camera(RENDER, (frame.shape[0], frame.shape[1], 3))
        elif frame.shape != self._shape:
            raise NotRendered(f"the frame size changed from {self._shape} to {frame.shape} at step {step}")
        self._encoding.add(0, frame, self._stamps_ns[step])

    def close(self) -> MadeVideo:
        """Finish the file, and give it its name.

        Raises:
            NotRendered: It could not be encoded or written.
        """
        report = self._encoding.close()
        cameras = report["cameras"]
        error = report["error"] or (cameras[0]["error"] if cameras else "there was nothing to render")
        if error is not None:
            raise NotRendered(f"the video cannot be written: {error}")
        self._part.replace(self._path)
        (camera,) = cameras
        return MadeVideo(
            os.fspath(self._path),
            frames=camera["frames"],
            width=camera["width"],
            height=camera["height"],
            preset=report["preset"],
            size=self._path.stat().st_size,
        )

    def discard(self) -> None:
        """Keep nothing; harmless after :meth:`close`."""
        self._encoding.close()
        with contextlib.suppress(OSError):
            self._part.unlink()

    def _is_wanted(self, step: int) -> bool:
        if step == len(self._stamps_ns) - 1:  # the last frame is the one that shows what went wrong
            return True
        if self._request.fps is None:
            return step % self._request.every_n_steps == 0
        now_ns = self._stamps_ns[step]
        if now_ns < self._next_ns:
            return False
        while self._next_ns <= now_ns:
            self._next_ns += round(1e9 / self._request.fps)
        return True
