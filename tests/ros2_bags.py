"""Bags written by rosbags' own writer, and what a bag became, read back without our readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

__all__ = ["START_NS", "BagMaker", "arrays", "frames", "quiet_image", "write_pick_7"]

START_NS = 1_700_000_000_000_000_000
_PLUGINS = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}


class BagMaker:
    """A bag that is being written; a context manager.

    Args:
        path: Its folder, made here.
        storage: ``mcap`` or ``sqlite3``.
        definitions: Further types, ``{"pkg/msg/Name": text}``.
    """

    def __init__(self, path: Path, storage: str = "mcap", definitions: dict[str, str] | None = None) -> None:
        self.path = path
        self.store = get_typestore(Stores.ROS2_HUMBLE)
        for name, text in (definitions or {}).items():
            self.store.register(get_types_from_msg(text, name))
        self._writer = Writer(path, version=9, storage_plugin=_PLUGINS[storage])
        self._connections: dict[tuple[str, str], Any] = {}

    def __enter__(self) -> BagMaker:
        self._writer.open()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._writer.close()

    def topic(self, name: str, msgtype: str, **options: Any) -> Any:
        """The topic, added where it is new."""
        key = name, msgtype
        if key not in self._connections:
            given = options or {"typestore": self.store}
            self._connections[key] = self._writer.add_connection(name, msgtype, **given)
        return self._connections[key]

    def add(self, topic: str, message: Any, receive_ns: int) -> None:
        """A message, received so many ns after the bag began."""
        data = self.store.serialize_cdr(message, message.__msgtype__)
        self.add_bytes(topic, message.__msgtype__, bytes(data), receive_ns)

    def add_bytes(self, topic: str, msgtype: str, data: bytes, receive_ns: int) -> None:
        """Whatever bytes."""
        self._writer.write(self.topic(topic, msgtype), START_NS + receive_ns, data)

    def make(self, msgtype: str, **fields: Any) -> Any:
        """A message; fields that are not given are zero, empty, or such messages."""
        values = {name: fields.pop(name, None) for name, _ in self.store.get_msgdef(msgtype).fields}
        assert not fields, fields
        for name, described in self.store.get_msgdef(msgtype).fields:
            if values[name] is None:
                values[name] = self._nothing(described)
        return self.store.types[msgtype](**values)

    def header(self, stamp_ns: int | None, frame_id: str = "base") -> Any:
        """A header, its stamp so many ns after the bag began; None leaves it 0."""
        return self.make("std_msgs/msg/Header", stamp=self.time(stamp_ns), frame_id=frame_id)

    def time(self, stamp_ns: int | None) -> Any:
        ns = 0 if stamp_ns is None else START_NS + stamp_ns
        return self.make("builtin_interfaces/msg/Time", sec=ns // 10**9, nanosec=ns % 10**9)

    def vector(self, x: float, y: float, z: float) -> Any:
        return self.make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)

    def image(self, pixels: np.ndarray, encoding: str, header: Any, *, padding: int = 0, big: bool = False) -> Any:
        """An image message of (H, W) or (H, W, C) pixels, with so many bytes after each row."""
        height, width = pixels.shape[:2]
        if big:
            pixels = pixels.astype(pixels.dtype.newbyteorder(">"))
        rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
        rows = np.concatenate([rows, np.full((height, padding), 0xAB, np.uint8)], axis=1)
        return self.make(
            "sensor_msgs/msg/Image",
            header=header,
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=int(big),
            step=rows.shape[1],
            data=rows.reshape(-1),
        )

    def _nothing(self, described: Any) -> Any:
        kind, content = described
        if kind == 2:
            return self.make(content)
        if kind == 1:
            return "" if content[0] == "string" else False if content[0] == "bool" else 0
        length = content[1] if kind == 3 else 0
        item_kind, item = content[0]
        if item_kind == 1 and item[0] != "string":
            return np.zeros(length, "bool" if item[0] == "bool" else item[0])
        return [self._nothing(content[0]) for _ in range(length)]


def write_pick_7(path: Path) -> None:
    """A second of an arm, its commands and its camera."""
    with BagMaker(path) as made:
        for number in range(20):
            t = number * 50_000_000
            header = made.header(t)
            position = np.array([float(number), 1.0])
            state = made.make("sensor_msgs/msg/JointState", header=header, name=["a", "b"], position=position)
            made.add("/joint_states", state, t + 1_000_000)
            command = made.make("std_msgs/msg/Float64MultiArray", data=np.array([float(number), 2.0]))
            made.add("/arm/command", command, t + 1_000_000)
            made.add("/camera", made.image(quiet_image(5 * number), "rgb8", header), t + 2_000_000)


def arrays(folder: Path, kind: str = "sensors") -> dict[str, np.ndarray]:
    """The arrays of a file of an episode; empty where there is none."""
    path = folder / f"{kind}.npz"
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as loaded:
        return {key: loaded[key] for key in loaded.files}


def frames(folder: Path, track: int = 0) -> tuple[list[np.ndarray], list[int]]:
    """The decoded frames of a track, and their times in µs."""
    with av.open(str(folder / "video.mp4")) as container:
        decoded = list(container.decode(video=track))
        times = [round(float(frame.pts * frame.time_base) * 1e6) for frame in decoded]
        return [frame.to_ndarray(format="rgb24") for frame in decoded], times


def quiet_image(level: int, shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    """(H, W, 3) uint8 RGB that a lossy video keeps: the left third red, then green, then blue, as bright as asked."""
    picture = np.zeros((*shape, 3), np.uint8)
    third = shape[1] // 3
    picture[:, :third, 0] = level
    picture[:, third : 2 * third, 1] = level
    picture[:, 2 * third :, 2] = level
    return picture
