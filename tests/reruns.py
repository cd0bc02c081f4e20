"""Running a test's recorded episodes again, in worker processes as ``robotrace reproduce`` does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from recorded import RecordedEpisode, sealed

from robotrace.reroll.jobs import Job, Verdict, VideoRequest
from robotrace.reroll.pool import ProcessPool, run_job
from robotrace_gymnasium import RoboTraceRecorder

__all__ = ["job_of", "record", "rerun", "rerun_all"]


def record(env: Any, resets: Iterable[dict[str, Any]], steps: int = 25, **options: Any) -> list[RecordedEpisode]:
    """One recorded episode for each reset of a single environment, under a random policy."""
    before = {episode.folder for episode in sealed()}
    options = {"max_per_minute": None, "video": False, "keep_partial": "always", **options}
    recorder = RoboTraceRecorder(env, **options)
    recorder.action_space.seed(3)
    for reset in resets:
        recorder.reset(**reset)
        for _ in range(steps):
            if any(recorder.step(recorder.action_space.sample())[2:4]):
                break
    recorder.close()
    recorder.flush()
    return [episode for episode in sealed() if episode.folder not in before]


def job_of(episode: RecordedEpisode, video: VideoRequest | None = None, **more: Any) -> Job:
    """What a worker is asked for an episode of this test's spool."""
    files = {item["kind"]: str(episode.folder / item["file"]) for item in episode.manifest["artifacts"]}
    job = Job(
        episode.manifest["uuid"],
        episode.metadata,
        files.get("sensors"),
        files.get("actions"),
        fps=episode.finalize.get("fps"),
        trusts_sources=True,
        video=video,
    )
    return dataclasses.replace(job, **more)


def rerun(episode: RecordedEpisode, video: VideoRequest | None = None, **more: Any) -> Verdict:
    """The verdict of a fresh process."""
    return run_job(job_of(episode, video, **more))


def rerun_all(episodes: Iterable[RecordedEpisode], workers: int = 2) -> list[Verdict]:
    """The verdicts, in the episodes' order."""
    found = dict(ProcessPool(workers).run(map(job_of, episodes)))
    return [found[position] for position in range(len(found))]
