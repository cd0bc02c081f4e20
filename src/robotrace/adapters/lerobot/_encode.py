"""One episode of a dataset as files."""

from __future__ import annotations

from pathlib import Path

from robotrace.adapters._episode import EncodedEpisode, require
from robotrace.adapters.lerobot._scan import NEEDED, DatasetSummary, find_camera, scan_dataset

__all__ = ["encode_episode"]


def encode_episode(
    repo_id_or_path: str | Path,
    episode_index: int,
    output_dir: str | Path,
    *,
    revision: str | None = None,
    canonical_camera: str | None = None,
    summary: DatasetSummary | None = None,
) -> EncodedEpisode:
    """Write one episode as ``video.mp4``, ``sensors.npz`` and ``actions.npz``.

    Every column is ``<column>/value`` with ``<column>/_t_ns``; ``action`` and columns ``action.*`` are the actions. A
    video is cut out of the dataset's file as it is where that is exact, and encoded anew else. A row's stamp is its
    ``timestamp``, from the episode's first one on.

    Args:
        repo_id_or_path: As in :func:`scan_dataset`.
        episode_index: Which one.
        output_dir: The folder; made where there is none. Files of these names in it are replaced.
        revision: As in :func:`scan_dataset`.
        canonical_camera: Whose track is the first of the video, as a column or its last part (``top``); None: the
            dataset's first camera.
        summary: From :func:`scan_dataset`, where there is one already.

    Raises:
        ConfigurationError: There is no such dataset, episode or camera.
        RobotraceError: A file is missing or broken; nothing is written then.
    """
    require("lerobot", NEEDED)
    from robotrace.adapters.lerobot._writing import write_episode

    summary = scan_dataset(repo_id_or_path, revision=revision) if summary is None else summary
    camera = find_camera(summary, canonical_camera)
    return write_episode(summary, episode_index, Path(output_dir), camera)
