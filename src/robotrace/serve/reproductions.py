"""What running an episode again came to: stored with it, one a time, the latest."""

from __future__ import annotations

from fastapi import APIRouter, Depends, HTTPException, Request
from sqlalchemy.orm import Session

from robotrace.reroll.jobs import MadeVideo
from robotrace.serve.arrivals import collect_first
from robotrace.serve.episodes import artifact_of, episode_or_404
from robotrace.serve.models import Episode, Reproduction, utc_now
from robotrace.serve.schemas_reroll import Report, ReportedVideo, StoredReproduction
from robotrace.serve.services import ApiCaller, Services, get_services, require_key
from robotrace.serve.video_index import ensure_video_index

__all__ = ["describe_video", "report_of", "router", "set_video", "store_report"]

router = APIRouter(prefix="/api/ingest", dependencies=[Depends(require_key)])


@router.post("/episode/{episode_id}/reproduction", dependencies=[Depends(collect_first)])
def push_reproduction(episode_id: str, body: Report, request: Request, caller: ApiCaller) -> StoredReproduction:
    """Store what running an episode again came to; answers with what is stored then."""
    services = get_services(request)
    with services.database.write() as session:
        episode = episode_or_404(session, episode_id, caller.project_id)
        if episode.status == "archived":
            raise HTTPException(409, "the episode is archived")
        stored = store_report(session, episode_id, body)
        answer = StoredReproduction(
            episode_id=episode_id,
            verdict=stored.verdict,  # type: ignore[arg-type]  # of a report that was checked
            checked_at=stored.checked_at,
        )
    describe_video(services, episode_id)
    return answer


def store_report(session: Session, episode_id: str, report: Report) -> Reproduction:
    """Store a verdict on an episode that exists, in place of the one before; returns what is stored then.

    That a machine could not run the episode says less than what came of it on another, and replaces nothing.
    """
    known = session.get(Reproduction, episode_id)
    could_not_run = report.verdict == "not_reproducible" and report.divergence is None
    if known is not None and could_not_run and known.verdict != "not_reproducible":
        return known
    checked_at = report.checked_at or utc_now()
    return session.merge(
        Reproduction(
            episode_id=episode_id,
            verdict=report.verdict,
            reason=report.reason,
            report=report.model_copy(update={"checked_at": checked_at}).model_dump(mode="json"),
            checked_at=checked_at,
        )
    )


def report_of(session: Session, episode_id: str) -> Report | None:
    """The verdict that is stored with an episode."""
    stored = session.get(Reproduction, episode_id)
    return None if stored is None else Report.model_validate(stored.report)


def describe_video(services: Services, episode_id: str) -> None:
    """Say in the metadata that a video was made later, once both the video and the verdict with it have arrived.

    Of what the client reports its preset alone is taken over, the rest is read from the file.
    """
    with services.database.read() as session:
        made = _reported_video(session, episode_id)
    index = None if made is None else ensure_video_index(services, episode_id)
    if index is None:
        return
    with services.database.write() as session:
        made = _reported_video(session, episode_id)
        episode = session.get(Episode, episode_id)
        if made is not None and episode is not None:
            set_video(
                episode,
                frames=index.frame_count,
                width=index.width,
                height=index.height,
                preset=made.preset,
                size=made.size,
            )


def set_video(episode: Episode, *, frames: int, width: int, height: int, preset: str, size: int) -> None:
    """Describe a video that was made later in the episode's metadata, as the recorder does with its own."""
    made = MadeVideo(path="", frames=frames, width=width, height=height, preset=preset, size=size)
    episode.meta = {**episode.meta, "video": made.metadata(_recorded(episode))}
    episode.updated_at = utc_now()


def _reported_video(session: Session, episode_id: str) -> ReportedVideo | None:
    """The video of the verdict, when it is the one in the slot and not described yet."""
    episode, report = session.get(Episode, episode_id), report_of(session, episode_id)
    if episode is None or report is None or report.verdict != "reproduced" or report.video is None:
        return None
    artifact = artifact_of(session, episode_id, "video")
    if artifact is None or artifact.size != report.video.size or _recorded(episode).get("frames"):
        return None
    return report.video


def _recorded(episode: Episode) -> dict[str, object]:
    recorded = episode.meta.get("video")
    return recorded if isinstance(recorded, dict) else {}
