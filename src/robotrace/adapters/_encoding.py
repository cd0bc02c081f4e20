"""What an adapter reads, written as the files of an episode: arrays by stream, pictures by camera."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from numpy.typing import ArrayLike

from robotrace.adapters._arrays import ArraysWriter, Clock
from robotrace.adapters._episode import FILES, EncodedArtifact, EncodedEpisode
from robotrace.capture.frames import as_rgb
from robotrace.capture.mp4 import Mp4Writer
from robotrace.remux import copy_span, merge_tracks

__all__ = ["EpisodeWriter"]

_FRAME_NS = 33_333_333
"""How long the last frame is shown where nobody says."""

_Artifact = Literal["sensors", "actions"]


class EpisodeWriter(contextlib.AbstractContextManager["EpisodeWriter"]):
    """Writes ``video.mp4``, ``sensors.npz`` and ``actions.npz``; memory holds a few rows of each stream.

    Nothing of these names is in the folder before :meth:`close`, but what was there; left without it (an exception),
    the folder is as it was.

    Args:
        folder: Made where there is none.
        canonical: The camera whose track is the first one of the video, which is the one a browser plays; None: that
            of the first picture.

    Attributes:
        canonical: As given; what stands here at :meth:`close` counts.

    Example::

        with EpisodeWriter(folder, canonical="front") as writer:
            writer.append("joints", positions, t_ns)
            writer.frame("front", picture, 0)
            episode = writer.close(fps=30.0, metadata={"adapter": "mine"})
    """

    def __init__(self, folder: Path, *, canonical: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.canonical = canonical
        # In the same file system, so that the files need not be copied.
        self._private = Path(tempfile.mkdtemp(prefix=".encoding-", dir=folder))
        self._arrays: dict[_Artifact, ArraysWriter] = {
            "sensors": ArraysWriter(self._private / "sensors.rows"),
            "actions": ArraysWriter(self._private / "actions.rows"),
        }
        self._cameras: dict[str, _Camera] = {}

    def __exit__(self, *exc: object) -> None:
        for camera in self._cameras.values():
            camera.abandon()
        for arrays in self._arrays.values():
            arrays.close()
        shutil.rmtree(self._private, ignore_errors=True)

    def arrays(self, artifact: _Artifact) -> ArraysWriter:
        """What collects the streams of a file, for a stream that is not made of whole rows."""
        return self._arrays[artifact]

    def append(self, stream: str, values: ArrayLike, t_ns: ArrayLike, *, artifact: _Artifact = "sensors") -> None:
        """Rows of a stream of one field, ``<stream>/value``; :meth:`append_fields` says the rest."""
        self.append_fields(stream, {"value": values}, t_ns, artifact=artifact)

    def append_fields(
        self, stream: str, fields: Mapping[str, ArrayLike], t_ns: ArrayLike, *, artifact: _Artifact = "sensors"
    ) -> None:
        """Rows of a stream, ``<stream>/<field>`` and ``<stream>/_t_ns``; see :mod:`robotrace.adapters._arrays`.

        Args:
            stream: Its name.
            fields: Arrays of N rows by field; dtype and shape are kept.
            t_ns: Their N stamps, int64 ns from the episode's start.
            artifact: The file they go to.

        Raises:
            ValueError: There are more or fewer rows than stamps, or they hold Python objects.
        """
        self._arrays[artifact].append(stream, fields, t_ns)

    def append_ragged(
        self,
        stream: str,
        rows: Sequence[ArrayLike | str | bytes],
        t_ns: ArrayLike,
        *,
        artifact: _Artifact = "sensors",
    ) -> None:
        """Rows of several lengths, or text: ``<stream>/value``, ``<stream>/_offsets`` and ``<stream>/_t_ns``.

        Args:
            stream: Its name.
            rows: Each a one-dimensional array (or one of equal rows), or text.
            t_ns: Their stamps, int64 ns from the episode's start.
            artifact: The file they go to.

        Raises:
            ValueError: There are more or fewer rows than stamps, or they hold Python objects.
        """
        self._arrays[artifact].append_ragged(stream, rows, t_ns)

    def frame(self, camera: str, frame: Any, t_ns: int, *, frame_ns: int = _FRAME_NS) -> None:
        """A picture of a camera. Its exact stamp goes to ``<camera>/_t_ns`` (where no stream of that name has a
        clock); the video's are in whole µs.

        What cannot be shown (a picture of another size than the first) is in ``metadata.incomplete``, and ends the
        camera's track.

        Args:
            camera: Its name, which is its track's.
            frame: What :func:`robotrace.capture.frames.as_rgb` takes: (H, W), (H, W, 1 | 3 | 4) or (3, H, W); uint8,
                bool, or float in [0, 1].
            t_ns: When it was taken, int ns from the episode's start.
            frame_ns: How long the last one is shown; of the first call.
        """
        found = self._cameras.get(camera)
        if found is None:
            found = self._cameras[camera] = self._new_camera(camera)
        found.put(frame, t_ns, frame_ns)

    def copy_video(self, camera: str, source: Path, begin_s: float, end_s: float, stamps_ns: Sequence[int]) -> bool:
        """A camera's whole track out of a video, where that needs no encoding.

        Args:
            camera: Its name.
            source: The video; its first track is taken.
            begin_s: On the video's clock: from here on.
            end_s: Up to here.
            stamps_ns: When each of its frames is shown, int ns from the episode's start.

        Returns:
            Whether it was; else give its frames to :meth:`frame`.

        Raises:
            OSError, av.FFmpegError: The video cannot be read.
        """
        found = self._new_camera(camera)
        if not found.copy(source, begin_s, end_s, stamps_ns):
            return False
        self._cameras[camera] = found
        return True

    def close(
        self,
        *,
        fps: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        summary: Any = None,
        recorded_ns: int | None = None,
    ) -> EncodedEpisode:
        """Write the files; those of an earlier episode in the folder are replaced.

        Args:
            fps: Of the recording, where it has a rate.
            metadata: Of the episode; ``video`` and ``incomplete`` are added.
            summary: For :attr:`EncodedEpisode.summary`.
            recorded_ns: When it began, in ns since 1970.

        Raises:
            OSError, av.FFmpegError: A file cannot be written.
        """
        details = dict(metadata or {})
        faults = {key: why for arrays in self._arrays.values() for key, why in arrays.notes.items()}
        video = self._write_video(faults)
        if video is not None:
            details["video"] = video
        if faults:
            details["incomplete"] = {**details.get("incomplete", {}), **faults}
        for camera in self._cameras.values():
            if camera.frames:
                self._arrays["sensors"].add_clock(camera.name, camera.stamps)
        for kind, arrays in self._arrays.items():
            if arrays:
                arrays.write(self._private / FILES[kind])
        found: dict[str, EncodedArtifact] = {}
        for slot, name in FILES.items():
            path = self._folder / name
            path.unlink(missing_ok=True)  # of an earlier episode, and this one may have none
            if (self._private / name).exists():
                (self._private / name).replace(path)
                found[slot] = EncodedArtifact(slot, path, path.stat().st_size)
        duration_ns = max(arrays.last_ns for arrays in self._arrays.values())
        return EncodedEpisode(
            self._folder,
            summary,
            found.get("video"),
            found.get("sensors"),
            found.get("actions"),
            duration_s=duration_ns / 1e9,
            fps=fps,
            metadata=details,
            recorded_ns=recorded_ns,
        )

    def _new_camera(self, name: str) -> _Camera:
        return _Camera(name, self._private / f"camera-{len(self._cameras)}.mp4", self._arrays["sensors"].clock())

    def _write_video(self, faults: dict[str, str]) -> dict[str, Any] | None:
        """``metadata.video``; None without pictures."""
        for camera in self._cameras.values():
            camera.finish()
            if camera.fault is not None:
                faults[f"video.{camera.name}"] = camera.fault
        # Sorted by what is false first, in their order otherwise.
        cameras = sorted(
            (camera for camera in self._cameras.values() if camera.frames),
            key=lambda camera: self.canonical is not None and camera.name != self.canonical,
        )
        if not cameras:
            return None
        whole = self._private / FILES["video"]
        if len(cameras) == 1:
            cameras[0].path.replace(whole)
        else:
            merge_tracks(whole, [camera.path for camera in cameras])
        return {
            "frames": sum(camera.frames for camera in cameras),
            "cameras": [camera.account(track) for track, camera in enumerate(cameras)],
        }


class _Camera:
    """One camera's track, in a file of its own: others may begin whenever they do."""

    def __init__(self, name: str, path: Path, stamps: Clock) -> None:
        self.name = name
        self.path = path
        self.stamps = stamps
        self.frames = 0
        self.missing = 0
        self.fault: str | None = None
        self._copied = False
        self._shape: tuple[int, ...] | None = None
        self._writer: Mp4Writer | None = None

    def put(self, frame: Any, t_ns: int, frame_ns: int) -> None:
        if self.fault is not None:
            self.missing += 1
            return
        try:
            rgb = as_rgb(frame)
        except ValueError as exc:
            self._end(f"{exc}, at {t_ns / 1e9:.6g} s")
            return
        if self._writer is None:
            self._writer = Mp4Writer(self.path, frame_ns)
            self._writer.add_camera(self.name, rgb.shape[1], rgb.shape[0])
            self._shape = rgb.shape
        elif rgb.shape != self._shape:
            self._end(f"the frame size changed from {self._shape} to {rgb.shape} at {t_ns / 1e9:.6g} s")
            return
        self._writer.add(rgb, t_ns)
        self.stamps.extend([t_ns])
        self.frames += 1

    def copy(self, source: Path, begin_s: float, end_s: float, stamps_ns: Sequence[int]) -> bool:
        if not copy_span(source, self.path, begin_s, end_s, stamps_ns, name=self.name):
            return False
        self.frames = len(stamps_ns)
        self.stamps.extend(stamps_ns)
        self._copied = True
        return True

    def finish(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            self._shape = (writer.tracks[0].height, writer.tracks[0].width)

    def abandon(self) -> None:
        with contextlib.suppress(Exception):  # a file that is about to be deleted
            self.finish()

    def account(self, track: int) -> dict[str, Any]:
        account: dict[str, Any] = {"name": self.name, "track": track, "frames": self.frames, "missing": self.missing}
        if self._copied:
            account["copied"] = True
        elif self._shape is not None:
            account |= {"height": self._shape[0], "width": self._shape[1]}
        return account

    def _end(self, why: str) -> None:
        self.fault = why
        self.missing += 1
