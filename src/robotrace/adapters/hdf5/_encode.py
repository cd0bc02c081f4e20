"""One episode of a file as files of ours."""

from __future__ import annotations

from pathlib import Path

from robotrace.adapters._episode import EncodedEpisode, require
from robotrace.adapters._uploading import checked_index
from robotrace.adapters.hdf5._scan import NEEDED, FileSummary, ImageColor, scan_file
from robotrace.ingest import checked_choice

__all__ = ["encode_episode"]


def encode_episode(
    path: str | Path,
    output_dir: str | Path,
    *,
    episode_index: int = 0,
    fps: float | None = None,
    canonical_camera: str | None = None,
    image_color: ImageColor = "rgb",
    summary: FileSummary | None = None,
) -> EncodedEpisode:
    """Write one episode as ``video.mp4``, ``sensors.npz`` and ``actions.npz``.

    Every dataset with rows is ``<its path>/value``, dtype and shape kept, with ``<its path>/_t_ns``. Pictures (uint8,
    or float RGB, or compressed) become video; small and float ones are kept as arrays too. Depth is arrays alone. Of a
    file that ``robotrace export`` has written, these are the episode's own files again.

    Args:
        path: The file.
        output_dir: The folder; made where there is none. Files of these names in it are replaced.
        episode_index: Which one; 0 of a file of one episode.
        fps: As in :func:`scan_file`. Real stamps, where the file has them for the steps, go before it.
        canonical_camera: Whose track is the first of the video, as a path or its last part; None: the file's first.
        image_color: How the pictures' channels are stored: ``rgb``, or ``bgr`` as OpenCV has them.
        summary: From :func:`scan_file`, where there is one already.

    Raises:
        ConfigurationError: An argument does not fit, or there is no such episode or camera.
        RobotraceError: The episode is broken; nothing is written then.
    """
    require("hdf5", NEEDED)
    checked_choice("image_color", image_color, ImageColor)
    from robotrace.adapters.hdf5._writing import write_episode

    summary = scan_file(path, fps=fps) if summary is None else summary
    if summary.layout == "robotrace":
        from robotrace.adapters.hdf5 import _own

        checked_index(summary.episode_indices, episode_index)
        return _own.write(summary, Path(output_dir))
    return write_episode(summary, episode_index, Path(output_dir), canonical_camera, image_color)
