"""Why episodes failed: found when they end, kept, and found anew when the rules or the episode have changed."""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from contextlib import ExitStack
from typing import Any

import numpy as np
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from robotrace.explain import ANALYZER_VERSION, Analysis, EpisodeFacts, Skipped, analyze
from robotrace.serve.models import Episode, EpisodeAnalysis, FindingLabel, Reproduction, VideoIndex, utc_now
from robotrace.serve.schemas import FindingView
from robotrace.serve.schemas_explain import AnalysisView, SkippedView
from robotrace.serve.services import Services
from robotrace.serve.store import StoreError
from robotrace.serve.streams import EpisodeStreams, read_streams

__all__ = ["Busy", "analysis_view", "explain_episode", "explain_later", "explain_when_failed", "explain_when_outdated"]

_ONE_AT_A_TIME = threading.Lock()
"""The streams of one episode may be 256 MiB: they are in the memory once, whoever asks."""


class Busy(Exception):
    """Others are being explained, and it takes longer than somebody should wait."""


def explain_when_failed(services: Services, episode_id: str) -> None:
    """Have an episode that has ended explained soon, if it failed. Raises nothing that a finalize could fail by."""
    with services.database.read() as session:
        episode = session.get(Episode, episode_id)
        failed = episode is not None and episode.status == "failed"
    if failed:
        explain_later(services, episode_id)


def explain_when_outdated(services: Services, session: Session, episode: Episode) -> bool:
    """Have an episode explained anew where somebody looks at what other rules said, or nothing was said yet.

    Returns:
        Whether that is on its way.
    """
    stored = session.get(EpisodeAnalysis, episode.id)
    if stored is None and episode.status != "failed":
        return False
    if stored is not None and stored.analyzer_version == ANALYZER_VERSION and stored.basis == _basis(session, episode):
        return False
    explain_later(services, episode.id)
    return True


def explain_later(services: Services, episode_id: str) -> None:
    """Explain an episode soon, on a thread of its own."""
    services.later.add(f"explaining episode {episode_id}", functools.partial(explain_episode, services, episode_id))


def explain_episode(services: Services, episode_id: str, *, timeout_s: float = -1) -> None:
    """Explain an episode now, and keep what came of it in place of what was kept before.

    Args:
        services: The deployment's parts.
        episode_id: One that exists; nothing happens when it was deleted meanwhile.
        timeout_s: How long to wait for others; -1: for ever.

    Raises:
        Busy: Others take longer than that.
    """
    if not _ONE_AT_A_TIME.acquire(timeout=timeout_s):
        raise Busy
    try:
        _explain(services, episode_id)
    finally:
        _ONE_AT_A_TIME.release()


def _explain(services: Services, episode_id: str) -> None:
    with services.database.read() as session:
        episode = session.get(Episode, episode_id)
        if episode is None:
            return
        basis = _basis(session, episode)
        facts = _facts(session, episode)
        keys = {artifact.kind: artifact.object_key for artifact in episode.artifacts}
    analysis = _analyze(services, facts, keys)
    told = analysis.to_dict()
    with services.database.write() as session:
        if session.get(Episode, episode_id) is not None:
            session.merge(
                EpisodeAnalysis(
                    episode_id=episode_id,
                    analyzer_version=analysis.analyzer_version,
                    findings=told["findings"],
                    skipped=told["skipped"],
                    basis=basis,
                    created_at=utc_now(),
                )
            )


def analysis_view(session: Session, episode_id: str) -> AnalysisView | None:
    """What is kept, with what people said of each finding; None where there is nothing."""
    stored = session.get(EpisodeAnalysis, episode_id)
    if stored is None:
        return None
    labels: dict[str, Any] = {
        row.code: row.label
        for row in session.scalars(select(FindingLabel).where(FindingLabel.episode_id == episode_id))
    }
    try:
        return AnalysisView(
            analyzer_version=stored.analyzer_version,
            findings=[FindingView(**finding, feedback=labels.get(finding["code"])) for finding in stored.findings],
            skipped=[SkippedView(**item) for item in stored.skipped],
            analyzed_at=stored.created_at,
        )
    except (ValidationError, KeyError, TypeError):  # of another version, which had other fields; it is made anew
        return None


def _facts(session: Session, episode: Episode) -> dict[str, Any]:
    """What the database knows of it; the arguments of :class:`EpisodeFacts`."""
    index = session.get(VideoIndex, (episode.id, "video", 0))
    checked = session.get(Reproduction, episode.id)
    return {
        "metadata": episode.meta,
        "status": episode.status,
        "source": episode.source,
        "failure_time_s": episode.failure_time_s,
        "duration_s": episode.duration_s,
        "fps": episode.fps,
        # The last time is the end of the last frame.
        "frames_s": None if index is None else np.frombuffer(index.times_ms, "<f8")[:-1] / 1000,
        "reproduction": None if checked is None else checked.report,
    }


def _analyze(services: Services, facts: dict[str, Any], keys: dict[str, str]) -> Analysis:
    with ExitStack() as files:
        sources, missing = [], []
        for kind in ("sensors", "actions"):
            if kind in keys:
                try:
                    sources.append((kind, files.enter_context(services.store.local_file(keys[kind]))))
                except StoreError as error:
                    missing.append(Skipped(kind, f"the file cannot be read: {error}"))
        streams: EpisodeStreams = read_streams(sources)
    episode = EpisodeFacts(**facts, sensors=streams.sensors, actions=streams.actions)
    return analyze(episode, [*missing, *streams.skipped])


def _basis(session: Session, episode: Episode) -> str:
    """Changes with everything that an analysis is made from."""
    checked = session.get(Reproduction, episode.id)
    files = sorted((artifact.kind, artifact.sha256) for artifact in episode.artifacts)
    known = [episode.updated_at.isoformat(), files, None if checked is None else checked.checked_at.isoformat()]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()
