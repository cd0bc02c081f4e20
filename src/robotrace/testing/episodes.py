"""Episodes the way a recording process writes them, without NumPy."""

from __future__ import annotations

import os
import struct
import uuid

from robotrace.deliver.blocks import END, START, STEPS, BlockFile, Column, encode_json, encode_steps
from robotrace.deliver.sealing import EpisodeParts, seal_episode
from robotrace.deliver.spool import SealedEpisode, Spool

__all__ = ["end_content", "int64", "seal_one", "start_content", "steps_block", "write_episode"]


def int64(*values: int) -> bytes:
    """As a column's bytes."""
    return struct.pack(f"<{len(values)}q", *values)


def steps_block(first: int, observations: int, actions: int) -> bytes:
    """``observations`` rows from number ``first`` on, 20 ms apart, and as many actions and rewards as given."""
    rows = range(first, first + observations)
    results = [Column("reward/value", "sensors", "after", "<i8", (), actions, int64(*range(actions)))]
    moves = [Column("action/value", "actions", "before", "<i8", (), actions, int64(*range(actions)))]
    return encode_steps(
        [
            Column(
                "observation/value",
                "sensors",
                "all",
                "<i8",
                (2,),
                observations,
                int64(*(n for k in rows for n in (k, -k))),
            ),
            *(results + moves if actions else []),
            Column("_t_ns", "sensors", "all", "<i8", (), observations, int64(*(k * 20_000_000 for k in rows))),
        ]
    )


def start_content(name: str, *, label: str = "test") -> dict[str, object]:
    """Of a START record; ``label`` is the episode's name."""
    return {
        "uuid": name,
        "unix_ms": 1_700_000_000_000,
        "create": {"source": "sim", "request_uploads": [], "name": label, "metadata": {"a": 1}},
    }


def end_content(status: str = "ready") -> dict[str, object]:
    """Of an END record."""
    return {"finalize": {"status": status, "duration_s": 0.04, "metadata": {"outcome": {"success": True}}}}


def write_episode(file: BlockFile, *, ended: bool = True, status: str = "ready", label: str = "test") -> EpisodeParts:
    """An episode of 3 observations, 2 actions and 2 rewards in ``file``."""
    name = str(uuid.uuid4())
    parts = EpisodeParts(name)
    parts.feed(file.append(START, name, 0, encode_json(start_content(name, label=label))))
    parts.feed(file.append(STEPS, name, 0, steps_block(0, 3, 2)))
    if ended:
        parts.feed(file.append(END, name, 0, encode_json(end_content(status))))
    return parts


def seal_one(spool: Spool, *, status: str = "ready", video: bytes | None = None) -> SealedEpisode:
    """A sealed episode the way a recording process makes one."""
    owned = spool.new_recording_folder()
    file = BlockFile(owned.path / "blocks-0001.rtb")
    parts = write_episode(file, status=status)
    if video is not None:
        (owned.path / parts.uuid).mkdir()
        (owned.path / parts.uuid / "video.mp4").write_bytes(video)
    entry = seal_episode(spool, owned.path / parts.uuid, parts)
    file.close()
    os.close(owned.lock)
    spool.discard(owned.path)
    assert entry is not None
    return entry
