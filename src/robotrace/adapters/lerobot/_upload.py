"""Episodes of a dataset, logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robotrace.adapters._episode import require
from robotrace.adapters._spooling import EpisodeFacts, ImportedEpisode, Importer, episode_uuid
from robotrace.adapters._uploading import DatasetUpload, Job, OnProgress, delivered, named, upload_all, upload_job
from robotrace.adapters.lerobot._encode import encode_episode
from robotrace.adapters.lerobot._scan import NEEDED, DatasetSummary, find_camera, scan_dataset
from robotrace.ingest import EpisodeFinalStatus, EpisodeSource

if TYPE_CHECKING:
    from robotrace.client import Client

__all__ = ["upload_dataset", "upload_episode"]

_NAME = "{dataset} {episode_index}"


def upload_episode(
    repo_id_or_path: str | Path,
    episode_index: int,
    *,
    client: Client | None = None,
    name: str | None = None,
    source: EpisodeSource = "replay",
    robot: str | None = None,
    policy_version: str | None = None,
    env_version: str | None = None,
    git_sha: str | None = None,
    seed: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    status: EpisodeFinalStatus = "ready",
    revision: str | None = None,
    canonical_camera: str | None = None,
    output_dir: str | Path | None = None,
    keep_artifacts: bool = False,
    summary: DatasetSummary | None = None,
    again: bool = False,
) -> ImportedEpisode:
    """Log one episode of a dataset. One that was logged before, with the same labels, is not logged again.

    It goes into the spool of this machine. Where a deployment is configured this returns when it has the episode;
    where none is, or it does not answer, the episode waits in the spool, and the log says so.

    Args:
        repo_id_or_path: As in :func:`encode_episode`, like every argument not listed here.
        episode_index: As there.
        client: Sends it at once, past the spool.
        name: None: the dataset's with the episode's number.
        source: ``real``, ``sim`` or ``replay``.
        robot: None: the dataset's ``robot_type``.
        policy_version: What acted.
        env_version: What it acted in.
        git_sha: The commit of the code that acted.
        seed: Of the episode.
        metadata: Goes over what the dataset says.
        status: ``ready`` or ``failed``.
        revision: As there.
        canonical_camera: As there.
        output_dir: None: a temporary folder.
        keep_artifacts: Leave that temporary folder where it is; the log names it.
        summary: As there.
        again: Log it once more if it was logged before.

    Raises:
        ConfigurationError: An argument does not fit; nothing was read.
        RobotraceError: A file is missing or broken, the deployment has refused the episode, or there is no room for it.
    """
    require("lerobot", NEEDED)
    facts = EpisodeFacts(name, source, robot, policy_version, env_version, git_sha, seed, metadata, status)
    facts.check()
    summary = scan_dataset(repo_id_or_path, revision=revision) if summary is None else summary
    with Importer(client=client, again=again) as importer:
        job = _job(summary, episode_index, facts, name or _NAME, canonical_camera)
        return delivered(importer, upload_job(importer, job, output_dir, keep=keep_artifacts))


def upload_dataset(
    repo_id_or_path: str | Path,
    *,
    client: Client | None = None,
    name_template: str | None = None,
    source: EpisodeSource = "replay",
    robot: str | None = None,
    policy_version: str | None = None,
    env_version: str | None = None,
    git_sha: str | None = None,
    seed: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    status: EpisodeFinalStatus = "ready",
    revision: str | None = None,
    canonical_camera: str | None = None,
    episode_indices: Sequence[int] | None = None,
    on_progress: OnProgress | None = None,
    stop_on_error: bool = False,
    summary: DatasetSummary | None = None,
    again: bool = False,
) -> DatasetUpload:
    """Log the episodes of a dataset. Interrupted, the next call goes on where it stopped.

    Args:
        repo_id_or_path: As in :func:`upload_episode`, like every argument not listed here.
        client: As there.
        name_template: ``{dataset}``, ``{episode_index}`` and ``{task}`` are filled in, with formats if need be:
            ``"pick {episode_index:04d}"``.
        source: As there.
        robot: As there.
        policy_version: As there.
        env_version: As there.
        git_sha: As there.
        seed: As there.
        metadata: As there.
        status: As there.
        revision: As there.
        canonical_camera: As there.
        episode_indices: Which; None: all.
        on_progress: ``on_progress(done, total, episode)`` after each, with what became of it.
        stop_on_error: Raise what the first broken episode fails with, instead of noting it and going on.
        summary: As there.
        again: As there.

    Raises:
        ConfigurationError: An argument does not fit; nothing was read.
        RobotraceError: The dataset cannot be read at all, the key was refused, or there is no room in the spool.
    """
    require("lerobot", NEEDED)
    facts = EpisodeFacts(None, source, robot, policy_version, env_version, git_sha, seed, metadata, status)
    facts.check()
    summary = scan_dataset(repo_id_or_path, revision=revision) if summary is None else summary
    indices = summary.episode_indices if episode_indices is None else list(episode_indices)
    for index in indices:
        summary.dataset.episode(index)
    template = name_template or _NAME
    named(template, {"dataset": "", "episode_index": 0, "task": ""})
    find_camera(summary, canonical_camera)
    with Importer(client=client, again=again) as importer:
        return upload_all(
            importer,
            indices,
            lambda index: _job(summary, index, facts, template, canonical_camera),
            on_progress=on_progress,
            stop_on_error=stop_on_error,
        )


def _job(summary: DatasetSummary, index: int, facts: EpisodeFacts, template: str, camera: str | None) -> Job:
    dataset = summary.dataset
    episode = dataset.episode(index)
    fields = {"dataset": summary.name, "episode_index": index, "task": ", ".join(episode.tasks)}
    name = facts.name or named(template, fields)
    labelled = EpisodeFacts(**{**vars(facts), "name": name, "robot": facts.robot or _robot(summary)})
    camera = find_camera(summary, camera)
    uuid = episode_uuid("lerobot", dataset.fingerprint(episode), facts=labelled, options={"camera": camera})

    def encode(folder: Path) -> Any:
        return encode_episode(summary.name, index, folder, canonical_camera=camera, summary=summary)

    return Job(uuid, labelled, encode)


def _robot(summary: DatasetSummary) -> str | None:
    known = summary.robot_type
    return None if known is None or known == "unknown" else known[:120]
