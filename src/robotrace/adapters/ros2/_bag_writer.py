"""What is recorded live, as an MCAP bag on the disk: readable up to the last second, whatever ends the process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from robotrace.adapters.ros2._types import typestore_of
from robotrace.errors import ConfigurationError

__all__ = ["BagWriter", "distro_of"]

_CHUNK_NS = 1_000_000_000
"""A chunk is written when it has 1 MiB, which of joint states alone is five minutes: all that a kill would lose."""


class BagWriter:
    """A bag that is being written, by one thread.

    Args:
        path: A folder that does not exist.
        types: The type of each topic.
        distro: The ROS distribution, for types whose definition is not installed.

    Raises:
        ConfigurationError: A type is not known.
        OSError: The folder cannot be written.

    Attributes:
        message_count: Written so far.
        first_ns: When the first message came, ns since 1970; None before.
        last_ns: When the last one came.
    """

    def __init__(self, path: Path, types: Mapping[str, str], distro: str) -> None:
        from rosbags.rosbag2 import StoragePlugin, Writer

        store = _typestore(types.values(), distro)
        self.message_count = 0
        self.first_ns: int | None = None
        self.last_ns = 0
        self._lock = threading.Lock()
        self._chunk_ns = time.monotonic_ns()
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._connections = {
            topic: self._writer.add_connection(topic, msgtype, typestore=store) for topic, msgtype in types.items()
        }
        self._open = True

    def write(self, topic: str, data: bytes) -> None:
        """A message that came now.

        Raises:
            OSError: The disk is full or gone.
        """
        with self._lock:
            if not self._open:
                return
            # Readers of a file without an index want its messages in order; a clock may be set back.
            now_ns = max(time.time_ns(), self.last_ns)
            self._writer.write(self._connections[topic], now_ns, data)
            self.message_count += 1
            self.first_ns = now_ns if self.first_ns is None else self.first_ns
            self.last_ns = now_ns
            storage: Any = self._writer.storage
            if time.monotonic_ns() - self._chunk_ns >= _CHUNK_NS:
                storage.close_chunk()
                self._chunk_ns = time.monotonic_ns()
            # What Python holds back here, a forked child would write once more when it ends.
            storage.bio.flush()

    def close(self) -> None:
        """Finish the bag.

        Raises:
            OSError: The disk is full or gone; what was written is read up to there.
        """
        with self._lock:
            if self._open:
                self._open = False
                self._writer.close()


def distro_of(ros_distro: str | None) -> str:
    """The distribution: as given, else ``$ROS_DISTRO``.

    Raises:
        ConfigurationError: It is unknown.
    """
    from rosbags.typesys import Stores

    known = sorted(store.value.removeprefix("ros2_") for store in Stores if store.value.startswith("ros2_"))
    name = ros_distro or os.environ.get("ROS_DISTRO") or ""
    if ros_distro and name not in known:
        raise ConfigurationError(f"ros_distro {name!r} is not known; it takes {', '.join(known)}")
    return name if name in known else known[-1]


def _typestore(msgtypes: Iterable[str], distro: str) -> Any:
    from rosbags.typesys import Stores, get_typestore

    known = get_typestore(Stores(f"ros2_{distro}")).fielddefs

    def definition(name: str) -> Any:
        # First what is installed: it is what the publishers were built with.
        found = _installed(name) or known.get(name)
        if found is None:
            raise ConfigurationError(f"neither this installation nor ROS {distro} has a definition of {name}")
        return found

    return typestore_of(msgtypes, definition)


def _installed(msgtype: str) -> Any:
    """The definition of a type in the installed ROS; None where there is none."""
    from rosbags.typesys import get_types_from_msg

    package, _, name = msgtype.partition("/msg/")
    try:
        from ament_index_python.packages import get_package_share_directory

        text = (Path(get_package_share_directory(package)) / "msg" / f"{name}.msg").read_text(encoding="utf-8")
        return get_types_from_msg(text, msgtype)[msgtype]
    except Exception:  # no ament, no package, a type made from .idl: then the distribution's
        return None
