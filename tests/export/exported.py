"""Episodes to be exported, with every kind of stream there is, and reading the files back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace.capture.mp4 import Mp4Writer
from robotrace.deliver.npz import write_npz
from robotrace.export import ExportedEpisode

START_NS = 1_795_952_791_833_182_243
ROWS = 40
T_NS = np.cumsum(np.full(ROWS, 33_333_333)) - 33_333_333
SLOW_NS = T_NS[::4] + 7
TEXTS = ["reach", "", "grüße ✓", 'a,b\n"c"']


def values() -> dict[str, NDArray[Any]]:
    """A stream for each dtype, with the values that a text or another type would lose."""
    rng = np.random.default_rng(11)
    floats = np.array([0.1, -0.0, np.nan, np.inf, -np.inf, 1e-45, 3.4028235e38, 1 / 3], np.float32)
    return {
        "observation": rng.normal(size=(ROWS, 3)).astype(np.float32),
        "odd": np.resize(floats, ROWS),
        "half": rng.normal(size=ROWS).astype(np.float16),
        "double": np.resize(np.array([0.1, 5e-324, np.nan, -0.0, 2.0**53 + 2]), ROWS),
        "flag": rng.integers(0, 2, ROWS).astype(bool),
        "int8": rng.integers(-128, 128, (ROWS, 2)).astype(np.int8),
        "int64": np.resize(np.array([-(2**63), 2**63 - 1, 2**53 + 1]), ROWS),
        "uint64": np.resize(np.array([2**64 - 1, 0], np.uint64), ROWS),
        "big endian": rng.normal(size=(ROWS, 2)).astype(">f8"),
        "matrix": rng.normal(size=(ROWS, 2, 2)),
    }


def write(path: Path, arrays: dict[str, Any], structure: dict[str, Any] | None = None) -> None:
    """An NPZ file as the recorder leaves it, its comment included."""

    class Member:
        deflate = False

        def __init__(self, key: str, array: NDArray[Any]) -> None:
            self.key, self.descr, self.shape = key, array.dtype.str, array.shape
            self.chunks = [array.tobytes()]

    comment = json.dumps({"structure": structure}).encode() if structure else b""
    write_npz(path, [Member(key, np.asarray(array)) for key, array in arrays.items()], comment)  # type: ignore[misc]


def write_video(
    path: Path, times_ns: NDArray[np.int64], cameras: tuple[str, ...] = ("render",), *, killed: bool = False
) -> None:
    """A camera a track; the brightness of a frame is its number, five apart. ``killed``: it was never closed."""
    writer = Mp4Writer(path, 33_333_333)
    for name in cameras:
        writer.add_camera(name, 64, 48)
    for number, t_ns in enumerate(times_ns.tolist()):
        for camera in range(len(cameras)):
            picture = np.full((48, 64, 3), (number * 5 + camera * 2) % 256, np.uint8)
            writer.add(picture, t_ns + camera * 1000, camera)
    content = path.read_bytes() if killed else b""  # a short one is not on the disk before it is closed
    writer.close()
    if killed:
        path.write_bytes(content)


def episode(folder: Path, *, video: bool = True, wall_clock: bool = True, **extra: Any) -> ExportedEpisode:
    """An episode of 40 rows; ``extra`` arrays go to its sensors."""
    arrays: dict[str, Any] = {}
    for name, value in values().items():
        arrays |= {f"{name}/value": value, f"{name}/_t_ns": T_NS}
    text = [each.encode() for each in TEXTS]
    arrays |= {
        "slow/value": np.arange(10, dtype=np.float32) / 10,
        "slow/_t_ns": SLOW_NS,
        "task/value": np.frombuffer(b"".join(text), np.uint8),
        "task/_offsets": np.cumsum([0, *map(len, text)]),
        "task/_t_ns": T_NS[:4],
        "contacts/value": np.arange(6, dtype=np.int32),
        "contacts/_offsets": np.array([0, 0, 1, 6]),
        "contacts/_t_ns": T_NS[:3],
        "depth/value": np.arange(2 * 8 * 12, dtype=np.float32).reshape(2, 8, 12) / 7,
        "depth/_t_ns": T_NS[:2],
        "lonely/value": np.zeros(3),
    }
    if wall_clock:
        arrays |= {"wall_clock/value": START_NS + T_NS + np.arange(ROWS), "wall_clock/_t_ns": T_NS}
    write(folder / "sensors.npz", arrays | extra, {"observation": {"leaf": "observation"}, "task": {"text": "task"}})
    write(folder / "actions.npz", {"action/value": values()["int8"][:-1], "action/_t_ns": T_NS[:-1]})
    files = {"sensors": folder / "sensors.npz", "actions": folder / "actions.npz"}
    if video:
        write_video(folder / "video.mp4", T_NS[:20], ("render", "wrist"))
        files["video"] = folder / "video.mp4"
    about = {
        "name": "lift #3",
        "status": "failed",
        "source": "real",
        "policy_version": "act-v7",
        "seed": 2**53 + 1,
        "fps": 30.0,
        "failure_time_s": 0.5,
        "failure_reason": "dropped it",
        "otel": {"trace_id": "ab" * 16},
        "findings": [
            {"code": "collision", "title": "Collision", "description": "A jump.", "onset_s": 0.4, "confidence": 0.8},
            {"code": "unexplained", "title": "?", "description": "", "onset_s": None, "confidence": 0.1},
        ],
    }
    metadata = {"task": "lift", "env": {"id": "Arm-v0"}, "long": "x" * 100_000}
    return ExportedEpisode("6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11", about, metadata, files)
