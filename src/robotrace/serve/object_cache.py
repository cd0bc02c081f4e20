"""Files that can be had again, on this machine's disk: what was read last, up to so many bytes."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["ObjectCache"]

_PART = ".part"


class ObjectCache:
    """A folder of objects, each under the hash of its key; an object never changes, so none gets old.

    Several threads may read at once; the folder belongs to one deployment.

    Args:
        folder: Where; made when it is not there.
        limit_bytes: What may lie there while nobody reads; the one that was read longest ago goes first.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._changed = threading.Lock()
        self._readers: Counter[str] = Counter()
        self._fetching: dict[str, threading.Lock] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = [path for path in folder.iterdir() if path.is_file()]
        for path in files:
            if path.suffix == _PART:  # of an earlier run that was killed
                path.unlink()
        kept = sorted((path for path in files if path.suffix != _PART), key=lambda path: path.stat().st_mtime_ns)
        self._sizes = OrderedDict((path.name, path.stat().st_size) for path in kept)

    @contextmanager
    def open(self, key: str, fetch: Callable[[], Iterator[bytes]]) -> Iterator[Path]:
        """The file of an object; it stays until the end of the block.

        Args:
            key: The object's.
            fetch: Called for its bytes when they are not here; of several readers one waits for the other.
        """

        def write(part: Path) -> None:
            with part.open("xb") as file:
                for chunk in fetch():
                    file.write(chunk)

        with self._open(_name(key), write) as path:
            yield path

    @contextmanager
    def made(self, key: str, variant: str, make: Callable[[Path], None]) -> Iterator[Path]:
        """A file that is made from an object; it stays until the end of the block.

        Args:
            key: The object's.
            variant: What tells this file from others that are made from it: letters, digits and ``-``.
            make: Called to write it when it is not here; of several readers one waits for the other.
        """
        with self._open(f"{_name(key)}-{variant}", make) as path:
            yield path

    @contextmanager
    def _open(self, name: str, make: Callable[[Path], None]) -> Iterator[Path]:
        path = self._folder / name
        with self._changed:
            self._readers[name] += 1
            fetching = self._fetching.setdefault(name, threading.Lock())
        try:
            with fetching:
                if not path.exists():
                    self._make(path, make)
            os.utime(path)  # not touch(): were it deleted just now, that would make an empty one
            with self._changed:
                self._sizes[name] = path.stat().st_size
                self._sizes.move_to_end(name)
            yield path
        finally:
            with self._changed:
                self._readers[name] -= 1
                if not self._readers[name]:
                    del self._readers[name], self._fetching[name]
                self._shrink()

    def use(self) -> tuple[int, int]:
        """Bytes that lie there, and bytes that may."""
        with self._changed:
            return sum(self._sizes.values()), self._limit

    def read(self, key: str) -> bytes | None:
        """The bytes of an object that is here; None when it is not, and then nothing is fetched."""
        name = _name(key)
        try:
            content = (self._folder / name).read_bytes()
            os.utime(self._folder / name)  # by these the next start knows what was read last
        except FileNotFoundError:
            return None
        with self._changed:
            if name in self._sizes:
                self._sizes.move_to_end(name)
        return content

    def forget(self, key: str) -> None:
        """The object is deleted; what was made from it goes, too."""
        name = _name(key)
        with self._changed:
            for known in [known for known in self._sizes if known.partition("-")[0] == name]:
                (self._folder / known).unlink(missing_ok=True)
                del self._sizes[known]

    def _make(self, path: Path, make: Callable[[Path], None]) -> None:
        part = path.with_name(f"{secrets.token_hex(16)}{_PART}")
        try:
            make(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _shrink(self) -> None:
        total = sum(self._sizes.values())
        for name in list(self._sizes):
            if total <= self._limit:
                return
            if name not in self._readers:
                (self._folder / name).unlink(missing_ok=True)
                total -= self._sizes.pop(name)


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
