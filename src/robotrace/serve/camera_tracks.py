"""A camera that is a further track of a file, as a video of its own: a browser plays only the first track of one.

The copy is lossless and made when it is first asked for. It is kept on the disk of this machine, up to so many bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from robotrace.remux import copy_track
from robotrace.serve.artifacts import artifact_key
from robotrace.serve.frame_times import MAX_FRAMES, VideoError, read_frame_times
from robotrace.serve.models import VideoIndex
from robotrace.serve.object_cache import ObjectCache
from robotrace.serve.store import ObjectStore
from robotrace.serve.video_container import demuxer_of

__all__ = ["CameraTracks"]

_CACHE_BYTES = 4 * 1024**3
_AT_ONCE = 2
"""Copies that are being made; each reads all of its file."""


class CameraTracks:
    """The tracks that were copied out of their files.

    Args:
        folder: Where; made with the first of them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache: ObjectCache | None = None
        self._opening = threading.Lock()
        self._at_once = threading.BoundedSemaphore(_AT_ONCE)

    @contextmanager
    def open(self, store: ObjectStore, object_key: str, index: VideoIndex) -> Iterator[Path]:
        """A file of one camera, which stays until the end of the block.

        Args:
            store: Where the episode's file is.
            object_key: Of that file.
            index: The camera, with its times.

        Raises:
            VideoError: It cannot be copied, or its frames would not keep their times.
            StoreError: The file is not there.
        """

        def make(part: Path) -> None:
            with self._at_once, store.local_file(object_key) as source:
                _copy(source, part, index)

        # The hash tells a file that was replaced, which a slot can be while the episode is recorded.
        variant = f"{index.track}-{index.sha256[:32]}"
        with self._opened().made(artifact_key(index.episode_id, index.kind), variant, make) as path:
            yield path

    def forget(self, key: str) -> None:
        """What was in the slot with this key is deleted."""
        if self._folder.exists():
            self._opened().forget(key)

    def _opened(self) -> ObjectCache:
        with self._opening:
            if self._cache is None:
                self._cache = ObjectCache(self._folder, _CACHE_BYTES)
            return self._cache


def _copy(source: Path, target: Path, index: VideoIndex) -> None:
    try:
        copy_track(source, target, index.track, demuxer=demuxer_of(source, MAX_FRAMES))
        copied = read_frame_times(target).times_ms
    except VideoError:
        raise
    except Exception as error:  # damaged bytes come out of a demuxer as nearly anything
        raise VideoError(f"track {index.track} cannot be copied: {error}") from error
    # The last one is an end, which a muxer may round; the others are what the page seeks by.
    wanted = np.frombuffer(index.times_ms, "<f8")
    if not np.array_equal(copied[:-1], wanted[:-1]):
        raise VideoError(f"track {index.track} would not keep the times of its frames")
