"""A bag, encoded and brought to the deployment through the spool."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robotrace.adapters.ros2._bags import require
from robotrace.adapters.ros2._encode import encode_bag
from robotrace.adapters.ros2._scan import BagSummary, assigned, scan_bag
from robotrace.errors import ConfigurationError
from robotrace.ingest import EpisodeFinalStatus, EpisodeSource

if TYPE_CHECKING:
    from robotrace.adapters._episode import EncodedEpisode
    from robotrace.adapters._spooling import EpisodeFacts, ImportedEpisode
    from robotrace.client import Client

__all__ = ["bring", "name_of", "upload_bag"]


def upload_bag(
    path: str | os.PathLike[str],
    *,
    client: Client | None = None,
    name: str | None = None,
    source: EpisodeSource = "real",
    robot: str | None = None,
    policy_version: str | None = None,
    env_version: str | None = None,
    git_sha: str | None = None,
    seed: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    status: EpisodeFinalStatus = "ready",
    video_topics: Collection[str] | None = None,
    sensor_topics: Collection[str] | None = None,
    action_topics: Collection[str] | None = None,
    canonical_video_topic: str | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    keep_artifacts: bool = False,
    again: bool = False,
) -> ImportedEpisode:
    """Encode a bag, and deliver it as an episode; the bag itself is only read.

    The episode goes into the spool first, so that nothing is lost where the deployment does not answer; the same bag
    with the same labels and topics is one episode, however often it is uploaded.

    Args:
        path: As in :func:`encode_bag`, like every argument not listed here.
        client: Deliver through this one. None: to the configured deployment; without one the episode stays in the
            spool.
        name: None: that of the bag.
        source: ``real``, ``sim`` or ``replay``.
        robot: Up to 120 characters.
        policy_version: What acted.
        env_version: What it acted in.
        git_sha: Of the code that acted.
        seed: Of the episode.
        metadata: Merged over what the bag says; ``success`` or ``outcome`` is where evals look for the outcome.
        status: ``ready`` or ``failed``.
        video_topics: As there.
        sensor_topics: As there.
        action_topics: As there.
        canonical_video_topic: As there.
        output_dir: Where the files stay. None: a temporary folder.
        keep_artifacts: Leave that temporary folder where it is; the log names it.
        again: Upload it once more if it was before.

    Returns:
        ``delivered``, or ``waiting`` in the spool and why.

    Raises:
        ConfigurationError: There is no bag, nothing of it can be read, it has no message, or an argument does not fit;
            nothing was sent.
        RobotraceError: The deployment has refused the episode; with ``client``, or it could not be reached; or there is
            no room for it in the spool.
        OSError: A file cannot be written.
    """
    require()
    from robotrace.adapters._spooling import EpisodeFacts

    facts = EpisodeFacts(
        name=name or name_of(path),
        source=source,
        robot=robot,
        policy_version=policy_version,
        env_version=env_version,
        git_sha=git_sha,
        seed=seed,
        metadata=metadata,
        status=status,
    )
    facts.check()
    options = {
        "video_topics": video_topics,
        "sensor_topics": sensor_topics,
        "action_topics": action_topics,
        "canonical_video_topic": canonical_video_topic,
    }
    folder = None if output_dir is None else Path(output_dir)
    return bring(path, facts, options, client=client, output_dir=folder, keep=keep_artifacts, again=again)[0]


def name_of(path: str | os.PathLike[str]) -> str:
    """What an episode of a bag is called where nobody says."""
    return Path(path).resolve().name.removesuffix(".mcap").removesuffix(".db3").removesuffix(".bag")[:200]


def bring(
    path: str | os.PathLike[str],
    facts: EpisodeFacts,
    options: Mapping[str, Any],
    *,
    client: Client | None = None,
    output_dir: Path | None = None,
    keep: bool = False,
    again: bool = False,
) -> tuple[ImportedEpisode, EncodedEpisode | None]:
    """:func:`upload_bag`, which also tells what the bag was encoded to; None where it was brought before.

    Args:
        path: As there.
        facts: The labels, checked.
        options: Of :func:`encode_bag`.
        client: As there.
        output_dir: As there.
        keep: Without it: leave the temporary folder.
        again: As there.

    Raises:
        ConfigurationError, RobotraceError, OSError: As there.
    """
    from robotrace.adapters._spooling import Importer
    from robotrace.adapters._uploading import Job, delivered, upload_job

    summary = scan_bag(path)
    assigned(summary, options.get("video_topics"), options.get("sensor_topics"), options.get("action_topics"))
    encoded: list[EncodedEpisode] = []

    def encode(folder: Path) -> EncodedEpisode:
        episode = encode_bag(path, folder, summary=summary, **options)
        if not episode.files:
            raise ConfigurationError(f"the bag {path} has no message that could be kept")
        encoded.append(episode)
        return episode

    with Importer(client=client, again=again) as importer:
        job = Job(_uuid(summary, facts, options), facts, encode)
        imported = delivered(importer, upload_job(importer, job, output_dir, keep=keep))
    return imported, encoded[0] if encoded else None


def _uuid(summary: BagSummary, facts: EpisodeFacts, options: Mapping[str, Any]) -> str:
    """The same for the same bag, wherever it lies."""
    from robotrace.adapters._spooling import episode_uuid

    topics = [[topic.topic, topic.msgtype, topic.msgcount] for topic in summary.topics]
    given = {
        name: value if value is None or isinstance(value, str) else sorted(value) for name, value in options.items()
    }
    return episode_uuid("ros2", summary.start_ns, summary.end_ns, topics, facts=facts, options=given)
