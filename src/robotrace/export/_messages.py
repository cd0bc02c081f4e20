"""The messages of an MCAP file: Foxglove's own for pictures and texts, one of ours for each type of number.

Protobuf, because JSON has neither NaN nor 64-bit integers. The types are made here and not imported from Foxglove's
package, whose generated code runs with the versions of protobuf alone that it was generated for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

__all__ = ["FATAL", "INFO", "WARNING", "MessageType", "log", "raw_image", "rows", "video"]

INFO, WARNING, FATAL = 2, 3, 5

_Field = descriptor_pb2.FieldDescriptorProto
_TIMESTAMP = ".google.protobuf.Timestamp"
_FIELDS: dict[str, dict[str, tuple[int, int, str]]] = {
    "foxglove.CompressedVideo": {
        "timestamp": (1, _Field.TYPE_MESSAGE, _TIMESTAMP),
        "frame_id": (2, _Field.TYPE_STRING, ""),
        "data": (3, _Field.TYPE_BYTES, ""),
        "format": (4, _Field.TYPE_STRING, ""),
    },
    "foxglove.RawImage": {
        "timestamp": (1, _Field.TYPE_MESSAGE, _TIMESTAMP),
        "frame_id": (7, _Field.TYPE_STRING, ""),
        "width": (2, _Field.TYPE_FIXED32, ""),
        "height": (3, _Field.TYPE_FIXED32, ""),
        "encoding": (4, _Field.TYPE_STRING, ""),
        "step": (5, _Field.TYPE_FIXED32, ""),
        "data": (6, _Field.TYPE_BYTES, ""),
    },
    "foxglove.Log": {
        "timestamp": (1, _Field.TYPE_MESSAGE, _TIMESTAMP),
        "level": (2, _Field.TYPE_ENUM, ".foxglove.Log.Level"),
        "message": (3, _Field.TYPE_STRING, ""),
        "name": (4, _Field.TYPE_STRING, ""),
        "file": (5, _Field.TYPE_STRING, ""),
        "line": (6, _Field.TYPE_FIXED32, ""),
    },
}
_LEVELS = ("UNKNOWN", "DEBUG", "INFO", "WARNING", "ERROR", "FATAL")
_NUMBERS = {
    "f2": ("Float32", _Field.TYPE_FLOAT),
    "f4": ("Float32", _Field.TYPE_FLOAT),
    "f8": ("Float64", _Field.TYPE_DOUBLE),
    "b1": ("Bool", _Field.TYPE_BOOL),
    "i1": ("Int32", _Field.TYPE_SINT32),
    "i2": ("Int32", _Field.TYPE_SINT32),
    "i4": ("Int32", _Field.TYPE_SINT32),
    "i8": ("Int64", _Field.TYPE_SINT64),
    "u1": ("UInt32", _Field.TYPE_UINT32),
    "u2": ("UInt32", _Field.TYPE_UINT32),
    "u4": ("UInt32", _Field.TYPE_UINT32),
    "u8": ("UInt64", _Field.TYPE_UINT64),
}
"""By kind and size of a dtype: the smallest of protobuf's types that holds every value."""
_ENCODINGS = {("u1", 1): "mono8", ("u1", 3): "rgb8", ("u1", 4): "rgba8", ("u2", 1): "mono16", ("f4", 1): "32FC1"}
_LEAST_EDGE = 8


class MessageType:
    """A type of messages.

    Args:
        name: ``foxglove.Log``.
        file: What declares it.
        needs: The descriptors of the files that it names.

    Attributes:
        name: As given.
        schema: What an MCAP file says of it: a FileDescriptorSet.
    """

    def __init__(self, name: str, file: descriptor_pb2.FileDescriptorProto, needs: tuple[bytes, ...]) -> None:
        self.name = name
        pool = descriptor_pool.DescriptorPool()
        files = [descriptor_pb2.FileDescriptorProto.FromString(each) for each in needs]
        for each in (*files, file):
            pool.Add(each)
        self._pool = pool  # the classes of protobuf 4 do not hold it
        self.schema: bytes = descriptor_pb2.FileDescriptorSet(file=[*files, file]).SerializeToString()
        self.make: Callable[..., Any] = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


@functools.cache
def _foxglove(name: str) -> MessageType:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"foxglove/{name.partition('.')[2]}.proto",
        package="foxglove",
        syntax="proto3",
        dependency=["google/protobuf/timestamp.proto"],
    )
    message = file.message_type.add(name=name.partition(".")[2])
    for field, (number, kind, type_name) in _FIELDS[name].items():
        message.field.add(
            name=field, number=number, type=kind, type_name=type_name or None, label=_Field.LABEL_OPTIONAL
        )
    if name == "foxglove.Log":
        level = message.enum_type.add(name="Level")
        for number, text in enumerate(_LEVELS):
            level.value.add(name=text, number=number)
    return MessageType(name, file, (timestamp_pb2.DESCRIPTOR.serialized_pb,))


@functools.cache
def _numbers(name: str, kind: int, *, repeated: bool) -> MessageType:
    name = f"{name}Array" if repeated else name
    # A field that is there counts: of proto3's others, a 0 would not be written, and a -0.0 becomes one.
    file = descriptor_pb2.FileDescriptorProto(name=f"robotrace/{name}.proto", package="robotrace", syntax="proto2")
    field = file.message_type.add(name=name).field.add(name="value", number=1, type=kind)
    field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    field.options.packed = repeated
    return MessageType(f"robotrace.{name}", file, ())


def rows(dtype: np.dtype[Any], *, scalar: bool) -> MessageType:
    """``robotrace.Float32Array`` and its like: a field ``value``, of arrays of several axes in C order.

    Args:
        dtype: Of the values.
        scalar: One a message; its type is ``robotrace.Float32``.
    """
    name, kind = _NUMBERS[f"{dtype.kind}{dtype.itemsize}"]
    return _numbers(name, kind, repeated=not scalar)


def _stamp(ns: int) -> Any:
    return {"seconds": ns // 1_000_000_000, "nanos": ns % 1_000_000_000}


def video() -> tuple[MessageType, Callable[[int, str, str, bytes], bytes]]:
    """``foxglove.CompressedVideo``, and what makes one of time, camera, format and data."""
    kind = _foxglove("foxglove.CompressedVideo")

    def make(ns: int, camera: str, format_name: str, data: bytes) -> bytes:
        message = kind.make(timestamp=_stamp(ns), frame_id=camera, data=data, format=format_name)
        return bytes(message.SerializeToString())

    return kind, make


def log() -> tuple[MessageType, Callable[[int, int, str, str], bytes]]:
    """``foxglove.Log``, and what makes one of time, level, name and text."""
    kind = _foxglove("foxglove.Log")

    def make(ns: int, level: int, name: str, text: str) -> bytes:
        return bytes(kind.make(timestamp=_stamp(ns), level=level, name=name, message=text).SerializeToString())

    return kind, make


def raw_image(
    dtype: np.dtype[Any], shape: tuple[int, ...]
) -> tuple[MessageType, Callable[[int, str, Any], bytes]] | None:
    """``foxglove.RawImage`` for rows that are pictures, and what makes one of time, stream and row; else None."""
    if len(shape) not in (2, 3) or min(shape[:2]) < _LEAST_EDGE:
        return None
    encoding = _ENCODINGS.get((f"{dtype.kind}{dtype.itemsize}", shape[2] if len(shape) == 3 else 1))
    if encoding is None:
        return None
    kind = _foxglove("foxglove.RawImage")
    height, width = shape[:2]
    little = dtype.newbyteorder("<")

    def make(ns: int, stream: str, row: Any) -> bytes:
        data = row.astype(little, copy=False).tobytes()
        message = kind.make(
            timestamp=_stamp(ns),
            frame_id=stream,
            width=width,
            height=height,
            encoding=encoding,
            step=len(data) // height,
            data=data,
        )
        return bytes(message.SerializeToString())

    return kind, make
