"""The formats, and writing a file of one: whole, or not at all."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from robotrace.errors import ConfigurationError
from robotrace.export._csv import table_bytes, write_csv
from robotrace.export._episode import Exported, ExportedEpisode, ExportError, Window
from robotrace.export._leaves import open_streams

__all__ = ["FORMATS", "Format", "export_episode"]

_TELL_EVERY = 1000
"""Rows, messages: a bar need not move more often."""


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        name: ``mcap``; a file's suffix, too.
        label: For people.
        purpose: What opens it.
        media_type: Of a download.
        packages: What it needs, as it is imported.
        extra: Which extra brings that; empty where nothing is needed.
    """

    name: str
    label: str
    purpose: str
    media_type: str
    packages: tuple[str, ...] = ()
    extra: str = ""

    @property
    def missing(self) -> str | None:
        """What to run where it cannot be written; None where it can."""
        with contextlib.suppress(ModuleNotFoundError):  # of a package that the name is within
            if all(importlib.util.find_spec(name) is not None for name in self.packages):
                return None
        return f"pip install 'robotrace-dev[{self.extra}]'"


FORMATS = {
    each.name: each
    for each in (
        Format("mcap", "MCAP", "Foxglove, Rerun", "application/octet-stream", ("mcap", "google.protobuf"), "mcap"),
        Format("hdf5", "HDF5", "h5py, MATLAB", "application/x-hdf5", ("h5py",), "hdf5"),
        Format("csv", "CSV", "pandas, spreadsheets", "text/csv; charset=utf-8"),
    )
}
"""By name."""


def export_episode(
    episode: ExportedEpisode,
    format_name: str,
    path: Path,
    *,
    window: Window | None = None,
    most_bytes: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Exported:
    """Write an episode as a file of another tool.

    Args:
        episode: The episode.
        format_name: One of :data:`FORMATS`.
        path: The file; one that is there is replaced, once the new one is whole.
        window: CSV: which part of it.
        most_bytes: Refuse an episode with more than that in its arrays, unpacked; None: of any size.
        on_progress: Called now and then with how much is done of how much, in whatever unit.

    Raises:
        ConfigurationError: The packages of the format are not installed.
        ExportError: A file of the episode is broken, or there is too much of it.
        OSError: The file cannot be written.
    """
    chosen = FORMATS[format_name]
    if chosen.missing is not None:
        raise ConfigurationError(f"{chosen.label} needs {' and '.join(chosen.packages)}; run: {chosen.missing}")
    exported = Exported(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.absolute().parent)
    os.close(handle)
    part = Path(name)
    try:
        with open_streams(episode) as streams:
            size = table_bytes(streams, window or Window()) if format_name == "csv" else streams.bytes_size
            if most_bytes is not None and size > most_bytes:
                raise ExportError(f"its arrays are larger than {most_bytes // 1024**2} MiB")
            if format_name == "hdf5":
                from robotrace.export._hdf5 import write_hdf5

                videos = sum(
                    file.stat().st_size for kind, file in episode.files.items() if kind not in ("sensors", "actions")
                )
                ticks = _Ticks(on_progress, streams.bytes_size + videos)
                exported.streams = write_hdf5(part, episode, exported.left_out, ticks.add)
            else:
                exported.left_out |= streams.left_out
                ticks = _Ticks(on_progress, sum(leaf.rows for leaf in streams.leaves), every=_TELL_EVERY)
                with part.open("wb") as file:
                    if format_name == "mcap":
                        from robotrace.export._mcap import write_mcap

                        exported.streams = write_mcap(file, episode, streams, exported.left_out, ticks.one)
                    else:
                        exported.streams = write_csv(file, streams, exported.left_out, ticks.one, window or Window())
        exported.size = part.stat().st_size
        # As any file of this user: a temporary one is private.
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    except BaseException:  # Ctrl-C as well
        part.unlink(missing_ok=True)
        raise
    return exported


class _Ticks:
    def __init__(self, on_progress: Callable[[int, int], None], total: int, *, every: int = 1) -> None:
        self._tell = on_progress
        self._total = total
        self._every = every
        self._done = 0

    def add(self, amount: int) -> None:
        self._done += amount
        if self._done % self._every == 0:
            self._tell(min(self._done, self._total), self._total)

    def one(self) -> None:
        self.add(1)


_asking = threading.Lock()


def _umask() -> int:
    with _asking:  # it is the process's: two threads would read each other's
        mask = os.umask(0o077)
        os.umask(mask)
    return mask
