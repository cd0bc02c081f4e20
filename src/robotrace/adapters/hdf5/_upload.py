"""Episodes of a file, logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robotrace.adapters._episode import reading, require
from robotrace.adapters._spooling import EpisodeFacts, ImportedEpisode, Importer, episode_uuid
from robotrace.adapters._uploading import (
    DatasetUpload,
    Job,
    OnProgress,
    checked_index,
    delivered,
    named,
    upload_all,
    upload_job,
)
from robotrace.adapters.hdf5._encode import encode_episode
from robotrace.adapters.hdf5._scan import NEEDED, FileSummary, ImageColor, scan_file
from robotrace.ingest import EpisodeFinalStatus, EpisodeSource, checked_choice

if TYPE_CHECKING:
    from robotrace.client import Client

__all__ = ["upload_dataset", "upload_episode"]

_NAME = "{file} {demo}"


def upload_episode(
    path: str | Path,
    *,
    episode_index: int = 0,
    client: Client | None = None,
    name: str | None = None,
    source: EpisodeSource | None = None,
    robot: str | None = None,
    policy_version: str | None = None,
    env_version: str | None = None,
    git_sha: str | None = None,
    seed: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    status: EpisodeFinalStatus = "ready",
    fps: float | None = None,
    canonical_camera: str | None = None,
    image_color: ImageColor = "rgb",
    output_dir: str | Path | None = None,
    keep_artifacts: bool = False,
    summary: FileSummary | None = None,
    again: bool = False,
) -> ImportedEpisode:
    """Log one episode of a file. One that was logged before, with the same facts, is not logged again.

    It goes into the spool of this machine. Where a deployment is configured this returns when it has the episode;
    where none is, or it does not answer, the episode waits in the spool, and the log says so.

    Args:
        path: As in :func:`encode_episode`, like every argument not listed here.
        episode_index: As there.
        client: Sends it at once, past the spool.
        name: None: the file's with that of the episode.
        source: None: ``sim`` or ``real`` where the file says so, else ``replay``.
        robot: Up to 120 characters.
        policy_version: What acted.
        env_version: What it acted in; None: the environment of robomimic's ``env_args``.
        git_sha: The commit of the code that acted.
        seed: Of the episode.
        metadata: Goes over what the file says.
        status: ``ready`` or ``failed``.
        fps: As there.
        canonical_camera: As there.
        image_color: As there.
        output_dir: None: a temporary folder.
        keep_artifacts: Leave that temporary folder where it is; the log names it.
        summary: As there.
        again: Log it once more if it was logged before.

    Raises:
        ConfigurationError: An argument does not fit; nothing was read.
        RobotraceError: The episode is broken, the deployment has refused it, or there is no room for it.
    """
    require("hdf5", NEEDED)
    facts = EpisodeFacts(name, source, robot, policy_version, env_version, git_sha, seed, metadata, status)
    facts.check()
    summary = scan_file(path, fps=fps) if summary is None else summary
    with Importer(client=client, again=again) as importer:
        job = _job(summary, episode_index, facts, name or _NAME, canonical_camera, image_color)
        return delivered(importer, upload_job(importer, job, output_dir, keep=keep_artifacts))


def upload_dataset(
    path: str | Path,
    *,
    client: Client | None = None,
    name_template: str | None = None,
    source: EpisodeSource | None = None,
    robot: str | None = None,
    policy_version: str | None = None,
    env_version: str | None = None,
    git_sha: str | None = None,
    seed: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    status: EpisodeFinalStatus = "ready",
    fps: float | None = None,
    canonical_camera: str | None = None,
    image_color: ImageColor = "rgb",
    episode_indices: Sequence[int] | None = None,
    on_progress: OnProgress | None = None,
    stop_on_error: bool = False,
    summary: FileSummary | None = None,
    again: bool = False,
) -> DatasetUpload:
    """Log the episodes of a file. Interrupted, the next call goes on where it stopped.

    Args:
        path: As in :func:`upload_episode`, like every argument not listed here.
        client: As there.
        name_template: ``{file}``, ``{demo}``, ``{episode_index}`` and ``{task}`` are filled in, with formats if need
            be: ``"lift {episode_index:04d}"``.
        source: As there.
        robot: As there.
        policy_version: As there.
        env_version: As there.
        git_sha: As there.
        seed: As there.
        metadata: As there.
        status: As there.
        fps: As there.
        canonical_camera: As there.
        image_color: As there.
        episode_indices: Which; None: all.
        on_progress: ``on_progress(done, total, episode)`` after each, with what became of it.
        stop_on_error: Raise what the first broken episode fails with, instead of noting it and going on.
        summary: As there.
        again: As there.

    Raises:
        ConfigurationError: An argument does not fit; nothing was read.
        RobotraceError: The file cannot be read at all, the key was refused, or there is no room in the spool.
    """
    require("hdf5", NEEDED)
    facts = EpisodeFacts(None, source, robot, policy_version, env_version, git_sha, seed, metadata, status)
    facts.check()
    summary = scan_file(path, fps=fps) if summary is None else summary
    indices = summary.episode_indices if episode_indices is None else list(episode_indices)
    for index in indices:
        checked_index(summary.episode_indices, index)
    template = name_template or _NAME
    named(template, {"file": "", "demo": "", "episode_index": 0, "task": ""})
    checked_choice("image_color", image_color, ImageColor)
    with Importer(client=client, again=again) as importer:
        return upload_all(
            importer,
            indices,
            lambda index: _job(summary, index, facts, template, canonical_camera, image_color),
            on_progress=on_progress,
            stop_on_error=stop_on_error,
        )


def _job(
    summary: FileSummary, index: int, facts: EpisodeFacts, template: str, camera: str | None, image_color: ImageColor
) -> Job:
    from robotrace.adapters.hdf5 import _own
    from robotrace.adapters.hdf5._layout import demos, open_file

    checked_index(summary.episode_indices, index)
    if summary.layout == _own.LAYOUT:
        return _own_job(summary, facts, template)
    with open_file(summary.path) as file, reading(f"episode {index} of {summary.path.name}"):
        demo = demos(file)[index]
        fields = {
            "file": summary.path.stem,
            "demo": demo.name,
            "episode_index": index,
            "task": demo.task() or "",
        }
        env = [str(summary.env_args[key]) for key in ("env_name", "env_version") if summary.env_args.get(key)]
        sources: dict[bool | None, EpisodeSource] = {True: "sim", False: "real", None: "replay"}
        labelled = replace(
            facts,
            name=facts.name or named(template, fields),
            source=facts.source or sources[demo.is_sim],
            env_version=facts.env_version or " ".join(env) or None,
        )
        # Not its number: a file that is written anew with one episode less has the others still.
        identity = [str(summary.path.resolve()), demo.name, demo.fingerprint()]
    options = {"fps": summary.fps, "camera": camera, "image_color": image_color}
    uuid = episode_uuid("hdf5", identity, facts=labelled, options=options)

    def encode(folder: Path) -> Any:
        return encode_episode(
            summary.path,
            folder,
            episode_index=index,
            canonical_camera=camera,
            image_color=image_color,
            summary=summary,
        )

    return Job(uuid, labelled, encode)


def _own_job(summary: FileSummary, facts: EpisodeFacts, template: str) -> Job:
    """Of a file that ``robotrace export`` has written: it keeps its name unless it is given one."""
    from robotrace.adapters.hdf5 import _own
    from robotrace.adapters.hdf5._layout import open_file

    if facts.name is None and template != _NAME:
        fields = {"file": summary.path.stem, "demo": summary.episodes[0].name, "episode_index": 0, "task": ""}
        facts = replace(facts, name=named(template, fields))
    with open_file(summary.path) as file, reading(summary.path.name):
        labelled = _own.labelled(file, facts)
        identity = _own.identity(file)
    uuid = episode_uuid("hdf5", identity, facts=labelled, options={"layout": summary.layout})
    return Job(uuid, labelled, lambda folder: encode_episode(summary.path, folder, summary=summary))
