"""The pictures of a deployment's videos: each made once, two at a time, by whoever asks first."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from robotrace.serve.frame_times import VideoError
from robotrace.serve.object_cache import ObjectCache
from robotrace.serve.store import ObjectStore, StoreError
from robotrace.serve.thumbnails import thumbnail

__all__ = ["Thumbnails"]

_logger = logging.getLogger(__name__)

# About 50,000 pictures.
_CACHE_BYTES = 256 * 1024 * 1024
# Each holds a processor for 3 to 300 ms; a page asks for 50, and episodes arrive meanwhile.
_AT_A_TIME = 2
# A bucket's file is fetched whole: a page of 50 must not fetch 50 GB.
_MAX_FETCHED_BYTES = 64 * 1024 * 1024
_REMEMBERED = 10_000
# Another way of making them is another key.
_RECIPE = "1"


class Thumbnails:
    """Pictures of videos by the key of the video's object; an object never changes, so none gets old.

    Args:
        store: Where the videos are.
        folder: Where the pictures are kept; made when one is first looked for.
    """

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._opening = threading.Lock()
        self._opened: ObjectCache | None = None
        self._limiter: CapacityLimiter | None = None
        self._broken: OrderedDict[str, None] = OrderedDict()

    def kept(self, object_key: str) -> bytes | None:
        """The JPEG of a video that somebody has looked at before."""
        return self._cache.read(_name(object_key))

    def is_broken(self, object_key: str) -> bool:
        """Whether no picture can be made of it, as far as is known."""
        return object_key in self._broken

    async def make(self, object_key: str, size: int, at_s: float | None) -> bytes | None:
        """The JPEG of a video, once it is its turn.

        Not on one of the threads that answer: while many wait here, none of those does.

        Args:
            object_key: The video's.
            size: Its bytes.
            at_s: As :func:`robotrace.serve.thumbnails.thumbnail` has it.

        Returns:
            None when there can be none: the video is broken, or lies in a bucket and is too large to be fetched.
        """
        if self.is_broken(object_key) or (self._store.origin and size > _MAX_FETCHED_BYTES):
            return None
        if self._limiter is None:  # belongs to the event loop
            self._limiter = CapacityLimiter(_AT_A_TIME)
        return await to_thread.run_sync(self._make, object_key, at_s, limiter=self._limiter)

    def forget(self, object_key: str) -> None:
        """The video is deleted."""
        if self._folder.exists():
            self._cache.forget(_name(object_key))
        self._broken.pop(object_key, None)

    @property
    def _cache(self) -> ObjectCache:
        with self._opening:
            if self._opened is None:
                self._opened = ObjectCache(self._folder, _CACHE_BYTES)
            return self._opened

    def _make(self, object_key: str, at_s: float | None) -> bytes | None:
        def fetch() -> list[bytes]:
            with self._store.local_file(object_key) as video:
                return [thumbnail(video, at_s)]

        if self.is_broken(object_key):  # it was found out while this waited
            return None
        try:
            with self._cache.open(_name(object_key), lambda: iter(fetch())) as path:
                return path.read_bytes()
        except VideoError as error:
            _logger.warning("there is no picture of the video %s: %s", object_key, error)
            self._broken[object_key] = None
            while len(self._broken) > _REMEMBERED:
                self._broken.popitem(last=False)
        except StoreError as error:  # it may come back
            _logger.debug("there is no picture of the video %s: %s", object_key, error)
        return None


def _name(object_key: str) -> str:
    return f"{_RECIPE} {object_key}"
