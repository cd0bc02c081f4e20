"""LeRobot datasets in the documented layouts, written with pyarrow and PyAV alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numbered import encoded, picture, write_lines, write_video

__all__ = ["CAMERAS", "FPS", "SMALL", "STILL", "first_number", "rows_of", "write_dataset"]

FPS = 10
CAMERAS = ("observation.images.top", "observation.images.wrist")
STILL = "observation.images.still"
SMALL = "observation.image"

_COLUMNS: dict[str, tuple[pa.DataType, str, tuple[int, ...]]] = {
    "observation.state": (pa.list_(pa.float32(), 3), "float32", (3,)),
    "observation.grid": (pa.list_(pa.list_(pa.float32())), "float32", (2, 3)),
    "action": (pa.list_(pa.float32()), "float32", (2,)),
    "action.gripper": (pa.bool_(), "bool", (1,)),
    "count": (pa.int64(), "int64", (1,)),
    "half": (pa.list_(pa.float16(), 1), "float16", (1,)),
    "instruction": (pa.string(), "string", (1,)),
    "next.reward": (pa.float32(), "float32", (1,)),
    "next.success": (pa.bool_(), "bool", (1,)),
    "next.done": (pa.bool_(), "bool", (1,)),
    "timestamp": (pa.float32(), "float32", (1,)),
    "frame_index": (pa.int64(), "int64", (1,)),
    "episode_index": (pa.int64(), "int64", (1,)),
    "index": (pa.int64(), "int64", (1,)),
    "task_index": (pa.int64(), "int64", (1,)),
}


def first_number(camera: str, episode: int) -> int:
    """The number in a camera's first picture of an episode; each has its own."""
    return 20 * episode + (100 if camera == CAMERAS[1] else 0)


def rows_of(episode: int, length: int, first: int, seed: int = 0) -> dict[str, np.ndarray | list[str]]:
    """The columns of an episode."""
    rng = np.random.default_rng((seed, episode))
    steps = np.arange(length)
    last = steps == length - 1
    return {
        "observation.state": rng.normal(size=(length, 3)).astype(np.float32),
        "observation.grid": rng.normal(size=(length, 2, 3)).astype(np.float32),
        "action": rng.normal(size=(length, 2)).astype(np.float32),
        "action.gripper": steps % 2 == 0,
        "count": 2**53 + 1 + steps,
        "half": (steps / 4).astype(np.float16)[:, None],
        "instruction": [f"go{'!' * (k % 3)}" for k in range(length)],
        "next.reward": np.where(last, np.float32(0.75), np.float32(0.25)),
        "next.success": last & (episode % 2 == 0),
        "next.done": last,
        "timestamp": (steps / FPS).astype(np.float32),
        "frame_index": steps,
        "episode_index": np.full(length, episode),
        "index": first + steps,
        "task_index": np.full(length, episode % 2),
    }


def write_dataset(
    root: Path,
    version: str = "v3.0",
    lengths: Sequence[int] = (5, 7, 4),
    *,
    codec: str = "libx264",
    video: dict[str, str] | None = None,
    pictures: bool = False,
    stats: bool = True,
    cuttable: bool = True,
    seed: int = 0,
) -> Path:
    """A dataset with two cameras.

    Args:
        root: Its folder.
        version: ``v2.0`` to ``v3.1``.
        lengths: Of its episodes; in v3 the last one is in a parquet file and a video of its own.
        codec: Of the videos.
        video: Options of the encoder.
        pictures: Whether there are two cameras more, whose pictures are PNGs in the rows.
        stats: Whether each episode has its statistics (v2.0 has none).
        cuttable: Whether an episode of v3 begins with a keyframe.
        seed: Of the numbers.
    """
    features: dict[str, Any] = {
        name: {"dtype": dtype, "shape": list(shape), "names": None} for name, (_, dtype, shape) in _COLUMNS.items()
    }
    features["observation.state"]["names"] = ["x", "y", "z"]
    for camera in CAMERAS:
        features[camera] = {"dtype": "video", "shape": [96, 128, 3], "names": ["height", "width", "channels"]}
    if pictures:
        features[STILL] = {"dtype": "image", "shape": [96, 128, 3], "names": ["height", "width", "channels"]}
        features[SMALL] = {"dtype": "image", "shape": [32, 32, 3], "names": ["height", "width", "channels"]}
    is_v3 = version.startswith("v3")
    info = {
        "codebase_version": version,
        "robot_type": "so100",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "fps": FPS,
        "chunks_size": 1000 if is_v3 else 2,
        "features": features,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
        if is_v3
        else "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
        if is_v3
        else "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    (root / "meta").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    options = {"bf": "0", "g": "12", **(video or {})} if codec == "libx264" else video or {}
    episodes = list(_episodes(lengths))
    if is_v3:
        _write_v3(root, episodes, codec, options, pictures, stats, cuttable, seed)
    else:
        _write_v2(root, episodes, codec, options, pictures, stats and version != "v2.0", seed)
    return root


def _episodes(lengths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    first = 0
    for episode, length in enumerate(lengths):
        yield episode, length, first
        first += length


def _frames(camera: str, episodes: Sequence[tuple[int, int, int]]) -> Iterator[np.ndarray]:
    for episode, length, _ in episodes:
        for k in range(length):
            yield picture(first_number(camera, episode) + k)


def _table(episodes: Sequence[tuple[int, int, int]], pictures: bool, seed: int) -> list[pa.Table]:
    tables = []
    for episode, length, first in episodes:
        rows = rows_of(episode, length, first, seed)
        columns = {
            name: pa.array(rows[name] if isinstance(rows[name], list) else list(rows[name]), kind)
            if kind == pa.string() or not pa.types.is_nested(kind)
            else pa.array([row.tolist() if name != "half" else list(row) for row in rows[name]], kind)
            for name, (kind, _, _) in _COLUMNS.items()
        }
        if pictures:
            struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            stills = [
                {"bytes": encoded(picture(10 * episode + k)), "path": f"frame-{k:06d}.png"} for k in range(length)
            ]
            columns[STILL] = pa.array(stills, struct)
            small = [{"bytes": encoded(np.full((32, 32, 3), k, np.uint8)), "path": None} for k in range(length)]
            columns[SMALL] = pa.array(small, struct)
        tables.append(pa.table(columns))
    return tables


def _statistics(episode: int, length: int, first: int, seed: int) -> dict[str, dict[str, list[float]]]:
    rows = rows_of(episode, length, first, seed)
    return {
        name: {"mean": np.mean(rows[name], 0).tolist(), "std": np.std(rows[name], 0).tolist()}
        for name in ("action", "observation.state")
    }


def _write_v2(
    root: Path,
    episodes: Sequence[tuple[int, int, int]],
    codec: str,
    options: dict[str, str],
    pictures: bool,
    stats: bool,
    seed: int,
) -> None:
    write_lines(root / "meta/tasks.jsonl", [{"task_index": k, "task": f"task {k}"} for k in (0, 1)])
    write_lines(
        root / "meta/episodes.jsonl",
        [{"episode_index": e, "tasks": [f"task {e % 2}"], "length": length} for e, length, _ in episodes],
    )
    if stats:
        write_lines(
            root / "meta/episodes_stats.jsonl",
            [{"episode_index": e, "stats": _statistics(e, length, first, seed)} for e, length, first in episodes],
        )
    for place in episodes:
        chunk = f"chunk-{place[0] // 2:03d}"
        path = root / f"data/{chunk}/episode_{place[0]:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(_table([place], pictures, seed)[0], path)
        for camera in CAMERAS:
            video = root / f"videos/{chunk}/{camera}/episode_{place[0]:06d}.mp4"
            write_video(video, _frames(camera, [place]), FPS, codec=codec, **options)


def _write_v3(
    root: Path,
    episodes: Sequence[tuple[int, int, int]],
    codec: str,
    options: dict[str, str],
    pictures: bool,
    stats: bool,
    cuttable: bool,
    seed: int,
) -> None:
    tasks = pa.table({"task_index": [0, 1], "__index_level_0__": ["task 0", "task 1"]})
    pq.write_table(tasks, root / "meta/tasks.parquet")
    lines = []
    for number, shard in enumerate((episodes[:-1], episodes[-1:])):
        path = root / f"data/chunk-000/file-{number:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        # A row group for all of them: an episode begins in the middle of one.
        pq.write_table(pa.concat_tables(_table(shard, pictures, seed)), path)
        for camera in CAMERAS:
            video = root / f"videos/{camera}/chunk-000/file-{number:03d}.mp4"
            # LeRobot encodes each episode for itself and puts them one after the other.
            begins = {first - shard[0][2] for _, _, first in shard}
            keyframes = begins if cuttable else ()
            write_video(video, _frames(camera, shard), FPS, codec=codec, keyframes=keyframes, **options)
        begun = 0
        for episode, length, first in shard:
            line = {
                "episode_index": episode,
                "tasks": [f"task {episode % 2}"],
                "length": length,
                "data/chunk_index": 0,
                "data/file_index": number,
                "dataset_from_index": first,
                "dataset_to_index": first + length,
            }
            for camera in CAMERAS:
                line |= {
                    f"videos/{camera}/chunk_index": 0,
                    f"videos/{camera}/file_index": number,
                    f"videos/{camera}/from_timestamp": begun / FPS,
                    f"videos/{camera}/to_timestamp": (begun + length) / FPS,
                }
            if stats:
                for name, values in _statistics(episode, length, first, seed).items():
                    line |= {f"stats/{name}/{what}": value for what, value in values.items()}
            lines.append(line)
            begun += length
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(lines), path)
