"""What an HDF5 file holds, told without reading its episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from robotrace.adapters._episode import reading, require
from robotrace.errors import ConfigurationError, RobotraceError

__all__ = ["NEEDED", "DemoSummary", "FileSummary", "ImageColor", "checked_fps", "scan_file"]

NEEDED = ("h5py", "numpy", "av")

ImageColor = Literal["rgb", "bgr"]


@dataclass(frozen=True)
class DemoSummary:
    """What one episode of a file holds.

    Attributes:
        episode_index: Its number.
        name: Of its group, ``demo_3``; of a file of one episode the file's.
        length: Steps.
        streams: Dtype and shape of a row by dataset, of those that are kept as arrays.
        cameras: The datasets that become video.
        clock: The dataset that has the stamps of the steps; None: they are counted with ``fps``.
        error: Why it cannot be imported; None where it can, as far as was looked.
    """

    episode_index: int
    name: str
    length: int
    streams: dict[str, tuple[str, tuple[int, ...]]]
    cameras: tuple[str, ...]
    clock: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class FileSummary:
    """What an HDF5 file holds.

    Attributes:
        path: The file.
        layout: ``robomimic``, ``aloha``, or ``robotrace``: written by ``robotrace export``.
        fps: Steps a second.
        fps_from: ``argument``, ``file``, or ``default``: what the layout's recorder does where it does not say.
        episodes: One each.
        env_args: robomimic's description of the environment; empty without one.
        bytes_size: Of the file.
    """

    path: Path
    layout: str
    fps: float
    fps_from: str
    episodes: tuple[DemoSummary, ...]
    env_args: dict[str, Any]
    bytes_size: int

    @property
    def episode_indices(self) -> Sequence[int]:
        """The numbers of the episodes."""
        return [episode.episode_index for episode in self.episodes]

    def report(self) -> str:
        """A few lines for a terminal."""
        rows = sum(episode.length for episode in self.episodes)
        lines = [
            f"{self.path.name}: HDF5 ({self.layout}), {len(self.episodes)} episodes, {rows} rows at {self.fps:g} fps"
            + ("" if self.fps_from != "default" else " (the file does not say; --fps does)")
        ]
        first = next((episode for episode in self.episodes if episode.error is None), None)
        if first is not None:
            lines += [f"  {name}  {dtype}{list(shape)}" for name, (dtype, shape) in first.streams.items()]
            lines += [f"  {name}  video" for name in first.cameras]
        lines += [f"  ! {episode.name}: {episode.error}" for episode in self.episodes if episode.error is not None]
        return "\n".join(lines)


def scan_file(path: str | Path, *, fps: float | None = None) -> FileSummary:
    """Describe a file: names, types and shapes are read, and the first bytes of pictures.

    Args:
        path: Of robomimic's layout (``data/demo_0``, …; LIBERO's is one), ALOHA's (``observations``, ``action``), or
            one that ``robotrace export`` has written.
        fps: Steps a second; None: what the file says (an attribute, or ``control_freq`` of robomimic's ``env_args``),
            else 50 for ALOHA and 20 for robomimic, marked as a guess.

    Raises:
        ConfigurationError: There is no such file, ``fps`` is no number above 0, or a package is missing.
        RobotraceError: It is broken, or of another layout.
    """
    require("hdf5", NEEDED)
    from robotrace.adapters.hdf5 import _own
    from robotrace.adapters.hdf5._layout import demos, open_file

    path = Path(path)
    given = checked_fps(fps)
    with open_file(path) as file:
        if _own.is_own(file):
            with reading(path.name):
                return _own.scan(file, path, given)
        with reading(path.name):
            found = demos(file)
            told, is_known = found[0].fps()
            layout, env_args = found[0].layout, dict(found[0].env_args)
        summaries = tuple(_summary(demo) for demo in found)
    return FileSummary(
        path=path,
        layout=layout,
        fps=told if given is None else given,
        fps_from="argument" if given is not None else "file" if is_known else "default",
        episodes=summaries,
        env_args=env_args,
        bytes_size=path.stat().st_size,
    )


def checked_fps(fps: Any) -> float | None:
    """A rate of any numeric type as a float; None for None.

    Raises:
        ConfigurationError: It is no number above 0.
    """
    if fps is None:
        return None
    from robotrace.adapters.hdf5._values import as_number

    found = as_number(fps)
    if found is None or found <= 0:
        raise ConfigurationError(f"fps must be a number above 0, got {fps!r}")
    return found


def _summary(demo: Any) -> DemoSummary:
    try:
        with reading(demo.name):
            length = demo.length
            streams, _ = demo.streams()
            clock = demo.clock(length)
    except RobotraceError as exc:
        return DemoSummary(demo.index, demo.name, 0, {}, (), error=str(exc))
    return DemoSummary(
        demo.index,
        demo.name,
        length,
        {stream.path: (str(stream.dtype), stream.shape) for stream in streams if stream.is_kept},
        tuple(stream.path for stream in streams if stream.camera),
        None if clock is None else clock[1],
    )
