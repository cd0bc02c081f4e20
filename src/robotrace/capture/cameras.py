"""The cameras of one episode: every picture that goes into its video, and an account of those that do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace import faults
from robotrace.capture.frames import as_rgb
from robotrace.capture.video import CameraStream, VideoResult, VideoStream

__all__ = ["RENDER", "Cameras", "merge_result"]

RENDER = "render"
"""The camera of ``env.render()``: the first track, which is the one a browser plays."""


class Cameras:
    """Takes frames by camera name. No method raises; what fails is named in :attr:`faults`, and the rest goes on.

    Args:
        open_video: Begins the episode's video; called with the first frame.
        realtime: Drop a frame (and count it) when the encoder is behind, instead of waiting.
        first: The camera whose track is the first one, wherever its first picture comes within the first instant.

    Attributes:
        faults: Why a camera has no (further) frames: under ``video`` for that of ``env.render()``, else under
            ``video.<name>``.
    """

    def __init__(
        self, open_video: Callable[[], VideoStream], *, realtime: bool = False, first: str | None = RENDER
    ) -> None:
        self.faults: dict[str, str] = {}
        self._open_video = open_video
        self._realtime = realtime
        self._first = first
        self._early: list[tuple[str, NDArray[np.uint8], int, str | None]] = []
        self._video: VideoStream | None = None
        self._cameras: dict[str, _Camera] = {}
        self._tracks: list[_Camera] = []
        self._waited_ns = 0
        self._waits = 0

    def put(self, name: str, frame: Any, t_ns: int, *, lossy_of: str | None = None) -> None:
        """The picture of a camera, copied before this returns.

        Args:
            name: Of the camera.
            frame: What :func:`robotrace.capture.frames.as_rgb` takes; None is counted.
            t_ns: When it is shown, on the episode's clock.
            lossy_of: The stream whose values these pictures are, when they are kept here only.
        """
        camera = self._cameras.get(name)
        if camera is None:
            camera = self._cameras[name] = _Camera(name, lossy_of)
        if camera.ended:
            return
        if frame is None:
            camera.missing += 1
            return
        try:
            rgb = as_rgb(frame)
            if self._first is not None and not self._in_order(name, rgb, t_ns, lossy_of):
                return
            self._take(camera, rgb, t_ns)
        except Exception as exc:  # no image, a dead encoder, no memory for a ring
            self._fail(camera, f"{type(exc).__name__}: {exc}", everything=isinstance(exc, OSError))
            faults.report("the video stops", exc)

    def failed(self, name: str, why: str) -> None:
        """There will be no further picture of a camera: its renderer is broken."""
        self._fail(self._cameras.setdefault(name, _Camera(name, None)), why)

    def alive(self, name: str) -> bool:
        """Whether a further picture of a camera would be kept."""
        camera = self._cameras.get(name)
        return camera is None or not camera.ended

    def metadata(self) -> dict[str, Any] | None:
        """``metadata.video`` as far as it is known here; None when there never was a picture."""
        self._flush_early()
        if self._video is None:
            return None
        return {
            "frames_submitted": sum(camera.submitted for camera in self._tracks),
            "waited_s": round(self._waited_ns / 1e9, 3),
            "cameras": [camera.account() for camera in self._tracks],
        }

    def close(self, cut_ns: int | None = None) -> None:
        """No more frames; returns at once. ``cut_ns``: of the last seconds only, what is before it is left out."""
        self._flush_early()
        if self._video is None:
            return
        try:
            self._video.close(waits=self._waits, cut_ns=cut_ns)
        except OSError as exc:
            faults.report("the video encoder went away", exc)

    def result(self, timeout_s: float) -> VideoResult | None:
        """Wait for the finished file, on the writer thread; None when there never was a picture."""
        return None if self._video is None else self._video.result(timeout_s)

    def _in_order(self, name: str, rgb: NDArray[np.uint8], t_ns: int, lossy_of: str | None) -> bool:
        # An observation comes before the picture of the same instant, but the tracks are numbered as they come.
        if name != self._first and (not self._early or t_ns <= self._early[0][2]):
            self._early.append((name, rgb.copy(), t_ns, lossy_of))
            return False
        if name == self._first:
            self._first = None
            self._take(self._cameras[name], rgb, t_ns)
            self._flush_early()
            return False
        self._flush_early()
        return True

    def _flush_early(self) -> None:
        self._first = None
        early, self._early = self._early, []
        for name, rgb, t_ns, lossy_of in early:
            self.put(name, rgb, t_ns, lossy_of=lossy_of)

    def _take(self, camera: _Camera, rgb: NDArray[np.uint8], t_ns: int) -> None:
        if camera.stream is None:
            if self._video is None:
                self._video = self._open_video()
            height, width, channels = rgb.shape
            camera.shape = rgb.shape
            camera.stream = self._video.add_camera(camera.name, (height, width, channels))
            self._tracks.append(camera)
        elif rgb.shape != camera.shape:
            self._fail(camera, f"the frame size changed from {camera.shape} to {rgb.shape} at {t_ns / 1e9:.6g} s")
            return
        waited_ns = camera.stream.put(rgb, t_ns, wait=not self._realtime)
        if waited_ns:
            self._waits += 1
        if waited_ns < 0:
            camera.dropped += 1
        else:
            self._waited_ns += waited_ns
            camera.submitted += 1

    def _fail(self, camera: _Camera, why: str, *, everything: bool = False) -> None:
        for each in self._cameras.values() if everything else (camera,):
            if not each.ended:
                each.ended = True
                self.faults[_fault_key(each.name)] = why


class _Camera:
    """One camera's account."""

    def __init__(self, name: str, lossy_of: str | None) -> None:
        self.name = name
        self.lossy_of = lossy_of
        self.shape: tuple[int, ...] | None = None
        self.stream: CameraStream | None = None
        self.submitted = 0
        self.dropped = 0
        self.missing = 0
        self.ended = False

    def account(self) -> dict[str, Any]:
        account: dict[str, Any] = {
            "name": self.name,
            "frames_submitted": self.submitted,
            "dropped": self.dropped,
            "missing": self.missing,
        }
        if self.lossy_of is not None:
            account["lossy_of"] = self.lossy_of
        return account


def merge_result(
    metadata: Mapping[str, Any], result: VideoResult, counted: list[int]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What the encoder says, into ``metadata.video``.

    Args:
        metadata: :meth:`Cameras.metadata`.
        result: Of the encoder.
        counted: The frames of each track as they can be read from the file, for when nobody was left to say.

    Returns:
        The new ``metadata.video``, and what is missing (for ``metadata.incomplete``).
    """
    merged = dict(metadata)
    faults_found: dict[str, str] = {} if result.error is None else {"video": result.error}
    told: list[Mapping[str, Any]]
    if result.cameras is None:
        told = [{"track": track, "frames": frames} for track, frames in enumerate(counted)]
    else:
        told = list(result.cameras)
    accounts = []
    for number, account in enumerate(metadata.get("cameras", ())):
        facts: dict[str, Any] = {**told[number]} if number < len(told) else {"frames": 0}
        error = facts.pop("error", None)
        if error is not None:
            faults_found[_fault_key(account["name"])] = error
        accounts.append({**account, **facts})
    merged["frames"] = sum(account["frames"] for account in accounts)
    merged["cameras"] = accounts
    if result.preset is not None:
        merged["preset"] = result.preset
    if result.offset_ns:
        merged["offset_ns"] = result.offset_ns
    return merged, faults_found


def _fault_key(name: str) -> str:
    return "video" if name == RENDER else f"video.{name}"
