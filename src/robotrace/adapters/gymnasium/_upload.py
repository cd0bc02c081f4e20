"""One rollout, recorded and logged as an episode."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from robotrace.adapters._episode import require
from robotrace.adapters.gymnasium._rollout import NEEDED, Policy, Recorded, record_rollout
from robotrace.adapters.gymnasium._scan import EnvSummary, scan_env
from robotrace.ingest import EpisodeFinalStatus, EpisodeSource, checked_choice

if TYPE_CHECKING:
    from robotrace.client import Client
    from robotrace.episode import Episode

__all__ = ["upload_rollout"]

_log = logging.getLogger("robotrace")


def upload_rollout(
    env: Any,
    *,
    policy: Policy,
    client: Client | None = None,
    name: str | None = None,
    source: EpisodeSource = "sim",
    robot: str | None = None,
    policy_version: str | None = None,
    env_version: str | None = None,
    git_sha: str | None = None,
    seed: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    status: EpisodeFinalStatus = "ready",
    max_steps: int = 10000,
    record_video: bool | None = None,
    fps: float = 30.0,
    output_dir: str | Path | None = None,
    keep_artifacts: bool = False,
    summary: EnvSummary | None = None,
) -> Episode:
    """Run one rollout, and log it as an episode: nothing is opened on the deployment before it is over.

    When the environment or the policy raises, what was recorded until then is logged as failed, with the exception in
    ``metadata.failure_reason``, and the exception goes on.

    Args:
        env: As in :func:`encode_rollout`, like every argument not listed here; it comes back as it was.
        policy: As there.
        client: None: the default one, as of :func:`robotrace.log_episode`.
        name: None: the environment's id.
        source: ``sim``, ``real`` or ``replay``.
        robot: Up to 120 characters.
        policy_version: What acted.
        env_version: None: the environment's id with its package's version.
        git_sha: None: of the repository the program runs in.
        seed: For ``env.reset``, and of the episode.
        metadata: Merged over what is known of the rollout.
        status: Of a rollout that came to its end, ``ready`` or ``failed``.
        max_steps: As there.
        record_video: As there.
        fps: As there.
        output_dir: None: a temporary folder.
        keep_artifacts: Leave that temporary folder where it is; the log names it.
        summary: As there.

    Raises:
        ConfigurationError: An argument does not fit, or no deployment is configured; nothing was run.
        APIError: The deployment refused something.
        TransportError: It could not be reached.
        Exception: Whatever the environment or the policy raises.
    """
    require("gymnasium", NEEDED)
    checked_choice("status", status, EpisodeFinalStatus)
    if client is None:
        from robotrace.client import default_client

        client = default_client()
    summary = scan_env(env) if summary is None else summary
    folder = Path(tempfile.mkdtemp(prefix="robotrace-")) if output_dir is None else Path(output_dir)
    try:
        recorded = record_rollout(
            env,
            folder,
            policy=policy,
            seed=seed,
            max_steps=max_steps,
            record_video=record_video,
            fps=fps,
            summary=summary,
            source=source,
            name=name or summary.env_id,
            robot=robot,
            policy_version=policy_version,
            env_version=env_version,
            git_sha=git_sha,
            metadata=dict(metadata or {}),
        )
        if recorded.error is None:
            return _log_episode(client, recorded, status, seed)
        try:
            _log_episode(client, recorded, "failed", seed)
        except Exception as exc:  # the caller's exception matters more than ours
            _log.warning("the failed rollout could not be uploaded: %s", exc)
        raise recorded.error
    finally:
        if output_dir is None and keep_artifacts:
            _log.info("the rollout's files stay in %s", folder)
        elif output_dir is None:
            rmtree(folder, ignore_errors=True)


def _log_episode(client: Client, recorded: Recorded, status: EpisodeFinalStatus, seed: int | None) -> Episode:
    rollout, create = recorded.rollout, recorded.create
    known: dict[str, Any] = {
        key: create.get(key) for key in ("name", "source", "robot", "policy_version", "env_version", "git_sha")
    }
    files: dict[str, Any] = {
        artifact.slot: artifact.path
        for artifact in (rollout.video, rollout.sensors, rollout.actions)
        if artifact is not None
    }
    return client.log_episode(
        **known,
        **files,
        seed=create.get("seed") if seed is None else seed,
        duration_s=rollout.duration_s,
        fps=rollout.fps,
        metadata=rollout.metadata,
        status=status,
        failure_time_s=recorded.failure_time_s if status == "failed" else None,
    )
