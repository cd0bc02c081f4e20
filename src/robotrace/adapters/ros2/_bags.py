"""A bag as its topics and its messages, whichever storage it is in; what cannot be read is named, the rest is read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from robotrace.adapters._episode import require as _require
from robotrace.adapters.ros2._cut_mcap import CutMcap
from robotrace.adapters.ros2._types import reason, typestore_for
from robotrace.errors import ConfigurationError

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.typesys.store import Typestore

__all__ = ["Bag", "Message", "Topic", "require"]

_NEEDED = ("rosbags", "numpy", "av")
_STORAGES = {".mcap": "mcap", ".db3": "sqlite3", ".bag": "rosbag1"}
_DISTRO_BEFORE_DEFINITIONS = "humble"
"""Since Iron the sqlite3 storage carries the definitions; a bag that has none and names no distribution is older."""


def require() -> None:
    """Whether what reading a bag needs is installed.

    Raises:
        ConfigurationError: It is not; the message says how to get it.
    """
    _require("ros2", _NEEDED)


@dataclass(frozen=True)
class Topic:
    """One topic of one type; a topic with two types is two of them.

    Attributes:
        name: The topic.
        msgtype: ``package/msg/Name``.
        count: Its messages, as the bag says; 0 where it does not say.
    """

    name: str
    msgtype: str
    count: int


@dataclass(frozen=True)
class Message:
    """One message as it lies in the bag.

    Attributes:
        topic: Where it was published.
        receive_ns: When it was received, nanoseconds since 1970 on the recorder's clock.
        data: Serialized.
    """

    topic: Topic
    receive_ns: int
    data: bytes


@dataclass
class _File:
    reader: Any
    connections: list[Connection]
    is_cut: bool = False

    def messages(self, connections: list[Connection], until_ns: int | None) -> Iterator[tuple[Connection, int, bytes]]:
        if not self.is_cut:
            yield from self.reader.messages(connections, stop=until_ns)
            return
        # Without an index rosbags stops at the first message that is out of order. The threads of a recorder leave
        # many, and a stream keeps its own order anyway.
        yield from self.reader.storage.messages_scan(connections, None, until_ns)


class Bag:
    """A bag opened to be read; a context manager.

    A folder whose ``metadata.yaml`` is missing or broken, or one of whose files is, is read file by file.

    Args:
        path: The folder of a bag, or one ``.mcap``, ``.db3`` or (ROS 1) ``.bag`` file.

    Raises:
        ConfigurationError: There is no bag, nothing of it can be read, or a package is missing.

    Attributes:
        path: The path.
        storage: ``mcap``, ``sqlite3`` or ``rosbag1``.
        ros_distro: As the bag says, None where it does not.
        start_ns: When the first message was received; None of an empty bag.
        end_ns: When the last one was received; None of an empty bag.
        topics: In the order of their names.
        faults: Files of the bag, or the rest of one, that cannot be read: name and reason.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        require()
        self.path = Path(path).expanduser()
        self.faults: dict[str, str] = {}
        self._files: list[_File] = []
        self._stores: dict[tuple[str, str], Typestore] = {}
        self._open()
        self.storage = _storage(self.path)
        self.ros_distro = _distro(file.reader for file in self._files)
        readers = [file.reader for file in self._files if file.reader.message_count]
        # The end is that of rosbags: one after the last message.
        self.start_ns: int | None = min((reader.start_time for reader in readers), default=None)
        self.end_ns: int | None = max((reader.end_time - 1 for reader in readers), default=None)
        self.topics = self._topics()

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its files."""
        for file in self._files:
            with contextlib.suppress(Exception):
                file.reader.close()
        self._files.clear()

    def messages(self, topics: Collection[Topic], *, until_ns: int | None = None) -> Iterator[Message]:
        """The messages in the order of their receipt, file by file.

        Where a file breaks off, :attr:`faults` names it and the next one is read.

        Args:
            topics: Whose.
            until_ns: Only those received before.
        """
        wanted = {(topic.name, topic.msgtype): topic for topic in topics}
        for file in self._files:
            connections = [each for each in file.connections if (each.topic, each.msgtype) in wanted]
            if not connections:
                continue
            read = 0
            try:
                for connection, receive_ns, data in file.messages(connections, until_ns):
                    yield Message(wanted[connection.topic, connection.msgtype], receive_ns, data)
                    read += 1
            except Exception as exc:  # damaged bytes come out of four parsers as nearly anything
                self.faults[_name(file.reader)] = f"it cannot be read beyond {read} messages: {reason(exc)}"

    def typestore(self, topic: Topic) -> Typestore:
        """What decodes the messages of a topic: by the definition in the bag, else by that of its distribution.

        Raises:
            ValueError: Nobody knows the type; the text says so.
        """
        connection = next(
            each
            for file in self._files
            for each in sorted(file.connections, key=lambda each: not each.msgdef.data)
            if (each.topic, each.msgtype) == (topic.name, topic.msgtype)
        )
        form = getattr(connection.ext, "serialization_format", "cdr")
        if self.storage != "rosbag1" and form not in ("cdr", ""):
            raise ValueError(f"its messages are serialized as {form}")
        key = topic.msgtype, connection.msgdef.data
        if key not in self._stores:
            self._stores[key] = typestore_for(connection, lambda: self._distro_types)
        return self._stores[key]

    def decode(self, store: Typestore, message: Message) -> Any:
        """The message as an object of its type.

        Raises:
            Exception: Its bytes are not of that type.
        """
        if self.storage == "rosbag1":
            return store.deserialize_ros1(message.data, message.topic.msgtype)
        return store.deserialize_cdr(message.data, message.topic.msgtype)

    @cached_property
    def _distro_types(self) -> tuple[str, Typestore]:
        from rosbags.typesys import Stores, get_typestore

        name = "ros1_noetic" if self.storage == "rosbag1" else ""
        for distro in (self.ros_distro, os.environ.get("ROS_DISTRO"), _DISTRO_BEFORE_DEFINITIONS):
            if not name and distro and f"ros2_{distro}" in {store.value for store in Stores}:
                name = f"ros2_{distro}"
        return name.partition("_")[2], get_typestore(Stores(name))

    def _open(self) -> None:
        if not self.path.exists():
            raise ConfigurationError(f"there is no bag {self.path}")
        paths = [self.path]
        if self.path.is_dir():
            paths = sorted((path for path in self.path.iterdir() if path.suffix in _STORAGES), key=_place)
            if (self.path / "metadata.yaml").is_file():
                why = self._open_file(self.path)
                if why is None:
                    return
                if not paths:
                    raise ConfigurationError(f"the bag {self.path} cannot be read: {why}")
            elif not paths:
                raise ConfigurationError(f"{self.path} is no bag: it has neither metadata.yaml nor .mcap or .db3 files")
            elif len({_place(path)[0] for path in paths}) > 1:
                names = ", ".join(path.name for path in paths)
                raise ConfigurationError(f"{self.path} has no metadata.yaml and holds several bags, {names}: give one")
        for path in paths:
            why = self._open_file(path)
            if why is not None:
                self.faults[path.name] = why
        if not self._files:
            reasons = "; ".join(f"{name}: {why}" for name, why in self.faults.items())
            raise ConfigurationError(f"the bag {self.path} cannot be read: {reasons}")

    def _open_file(self, path: Path) -> str | None:
        """Open a file, or the folder as a whole; why not, where that cannot be."""
        from rosbags.rosbag1 import Reader as Reader1
        from rosbags.rosbag2 import Reader as Reader2

        if not path.is_dir() and path.suffix not in _STORAGES:
            return f"{path.suffix or path.name} is no storage of a bag; it takes a folder, .mcap, .db3 or .bag"
        try:
            reader: Any = Reader1(path) if path.suffix == ".bag" and path.is_file() else Reader2(path)
            reader.open()
        except Exception as exc:  # as in messages
            why = reason(exc)
            if "malformed" in why and path.suffix == ".db3":
                name = path.name
                return f"{why} (`sqlite3 {name} .recover | sqlite3 recovered.db3` may save what is left)"
            if path.suffix != ".mcap" or not path.is_file():
                return why
            try:
                cut: Any = CutMcap(path)
                reader = Reader2(cut)
                reader.open()
            except Exception:
                return why
            self.faults[path.name] = f"it is cut off: {cut.size - cut.whole_bytes} bytes after its last whole record"
        self._files.append(_File(reader, list(reader.connections), is_cut=path.name in self.faults))
        self._look_for_unread(path)
        return None

    def _look_for_unread(self, path: Path) -> None:
        for log in path.glob("*.db3-wal") if path.is_dir() else [path.with_name(f"{path.name}-wal")]:
            if log.is_file() and log.stat().st_size:
                self.faults[log.name] = (
                    "its recorder was killed, and the last messages are in here only, which is not read: "
                    f"`sqlite3 {log.name.removesuffix('-wal')} 'PRAGMA wal_checkpoint'` moves them into the bag"
                )

    def _topics(self) -> list[Topic]:
        counts: dict[tuple[str, str], int] = {}
        for file in self._files:
            for each in file.connections:
                key = each.topic, each.msgtype
                counts[key] = counts.get(key, 0) + each.msgcount
        return [Topic(name, msgtype, count) for (name, msgtype), count in sorted(counts.items())]


def _place(path: Path) -> tuple[str, int]:
    """Of a file of a bag: the name that the files of a bag share, and its number among them."""
    name, _, number = path.stem.rpartition("_")
    return (name, int(number)) if name and number.isdigit() and path.suffix != ".bag" else (path.stem, 0)


def _storage(path: Path) -> str:
    suffixes = {part for each in ([path] if path.is_file() else path.iterdir()) for part in each.suffixes}
    return next((name for suffix, name in _STORAGES.items() if suffix in suffixes), "")


def _distro(readers: Iterator[Any]) -> str | None:
    for reader in readers:
        name = getattr(reader, "ros_distro", None)
        if name and name != "rosbags":  # what its writer puts there
            return str(name)
    return None


def _name(reader: Any) -> str:
    return Path(reader.path).name
