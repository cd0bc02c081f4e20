"""What the pages show, as JSON and as binary; the page templates use the same functions.

These routes ask for no key: :func:`robotrace.serve.services.portal_viewer` says who may see what.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from pydantic import BaseModel

from robotrace.reroll.plan import read_plan
from robotrace.serve.analyses import analysis_view, explain_when_outdated
from robotrace.serve.artifacts import signed_download
from robotrace.serve.episodes import EpisodeFilter, episode_filter, episode_or_404, episode_summary, list_episodes
from robotrace.serve.may_run import what_runs
from robotrace.serve.models import Episode
from robotrace.serve.neighbours import Neighbours, neighbours
from robotrace.serve.portal_cameras import CameraView, camera_views
from robotrace.serve.portal_export import ExportOption, export_options
from robotrace.serve.renders import Renders, get_renders
from robotrace.serve.reproductions import report_of
from robotrace.serve.schemas import ArtifactInfo, EpisodeSummary
from robotrace.serve.schemas_evals import ScenarioInfo
from robotrace.serve.schemas_explain import AnalysisView
from robotrace.serve.schemas_reroll import Report, RerunView
from robotrace.serve.series import SeriesError, read_series
from robotrace.serve.services import PageViewer, Services, Viewer, get_services
from robotrace.serve.stream_facts import StreamFacts
from robotrace.serve.trace_links import trace_url
from robotrace.serve.verify import scenario_infos
from robotrace.serve.video_index import ensure_video_indexes

__all__ = [
    "SERIES_BYTES",
    "EpisodeList",
    "EpisodeView",
    "LinkedArtifact",
    "SummaryWithMetadata",
    "episode_list",
    "episode_view",
    "router",
]

router = APIRouter(prefix="/portal", include_in_schema=False)

SERIES_BYTES = 2 * 1024**2
"""Of the first answer: 20 streams of 100,000 rows, thinned out, fit; of 400 of 1,000 about half do."""


class EpisodeList(BaseModel):
    """A page of the list of episodes."""

    episodes: list[EpisodeSummary]
    next: str | None


class SummaryWithMetadata(EpisodeSummary):
    """An episode as its page shows it."""

    metadata: dict[str, Any]
    otel: dict[str, Any] | None


class LinkedArtifact(ArtifactInfo):
    """A file, and where this page may get it."""

    url: str


class EpisodeView(BaseModel):
    """Everything the page of an episode needs, but the series; ``video`` is the first of its cameras."""

    episode: SummaryWithMetadata
    artifacts: list[LinkedArtifact]
    video: CameraView | None
    cameras: list[CameraView]
    series_url: str
    scenario: ScenarioInfo | None
    reproduction: Report | None
    rerun: RerunView
    analysis: AnalysisView | None
    analysis_pending: bool
    neighbours: Neighbours
    trace_url: str | None
    exports: list[ExportOption]


def episode_list(
    services: Services, viewer: Viewer, filters: EpisodeFilter, *, limit: int = 50, cursor: str = ""
) -> EpisodeList:
    """A page of the viewer's episodes, newest first; see :func:`robotrace.serve.episodes.list_episodes`."""
    with services.database.read() as session:
        episodes, following = list_episodes(session, viewer.project_id, filters, limit=limit, cursor=cursor or None)
    return EpisodeList(episodes=episodes, next=following)


def episode_view(services: Services, renders: Renders, viewer: Viewer, episode_id: str) -> EpisodeView:
    """What the page of an episode shows.

    Raises:
        HTTPException: 404 when there is no such episode.
    """
    _require_episode(services, viewer, episode_id)
    indexes = ensure_video_indexes(services, episode_id)
    with services.database.read() as session:
        episode = episode_or_404(session, episode_id, viewer.project_id)
        artifacts = [
            LinkedArtifact(
                kind=artifact.kind,
                size=artifact.size,
                sha256=artifact.sha256,
                content_type=artifact.content_type,
                file_name=artifact.file_name,
                url=signed_download(services.store, artifact),
            )
            for artifact in episode.artifacts
        ]
        cameras = camera_views(services, episode, indexes)
        has_video = any(artifact.kind == "video" for artifact in artifacts)
        summary = episode_summary(episode, has_video=has_video)
        scenario = next(iter(scenario_infos(session, viewer.project_id, episode_id)), None)
        detail = SummaryWithMetadata(**dict(summary), metadata=episode.meta, otel=episode.otel)
        reproduction = report_of(session, episode_id)
        rerun = _rerun_view(renders, episode)
        pending = explain_when_outdated(services, session, episode)
        analysis = analysis_view(session, episode_id)
        beside = neighbours(session, episode)
        traced = trace_url(services.settings.trace_url, episode)
    return EpisodeView(
        episode=detail,
        artifacts=artifacts,
        video=cameras[0] if cameras else None,
        cameras=cameras,
        series_url=f"/portal/episodes/{episode_id}/series.bin",
        scenario=scenario,
        reproduction=reproduction,
        rerun=rerun,
        analysis=analysis,
        analysis_pending=pending,
        neighbours=beside,
        trace_url=traced,
        exports=export_options(episode_id),
    )


def _require_episode(services: Services, viewer: Viewer, episode_id: str) -> None:
    with services.database.read() as session:
        episode_or_404(session, episode_id, viewer.project_id)


def _rerun_view(renders: Renders, episode: Episode) -> RerunView:
    plan = read_plan(episode.meta)
    return RerunView(
        why_not=renders.why_not(episode),
        anywhere=plan.reason is None,
        code=what_runs(episode.meta),
        deferred=plan.deferred,
        render=renders.view(episode.id),
    )


@router.get("/episodes.json")
def episodes_json(
    request: Request,
    viewer: PageViewer,
    filters: Annotated[EpisodeFilter, Depends(episode_filter)],
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str = "",
) -> EpisodeList:
    """The list of episodes."""
    return episode_list(get_services(request), viewer, filters, limit=limit, cursor=cursor)


@router.get("/episodes/{episode_id}.json")
def episode_json(episode_id: str, request: Request, viewer: PageViewer) -> EpisodeView:
    """One episode."""
    return episode_view(get_services(request), get_renders(request), viewer, episode_id)


@router.get("/episodes/{episode_id}/series.bin")
def series_bin(
    episode_id: str,
    request: Request,
    viewer: PageViewer,
    start_ms: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    end_ms: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    points: Annotated[int, Query(ge=1, le=50_000)] = 4000,
    streams: Annotated[list[str] | None, Query(max_length=1000)] = None,
) -> Response:
    """The numeric streams of an episode; see :func:`robotrace.serve.series.read_series` for the format.

    Without the names of ``streams`` those that fit into 2 MiB are sent, and the others described.
    """
    services = get_services(request)
    with services.database.read() as session:
        episode = episode_or_404(session, episode_id, viewer.project_id)
        keys = {artifact.kind: artifact.object_key for artifact in episode.artifacts}
        facts = StreamFacts(episode.meta)
    try:
        with ExitStack() as files:
            sources = [
                (kind, files.enter_context(services.store.local_file(keys[kind])))
                for kind in ("sensors", "actions")
                if kind in keys
            ]
            content = read_series(
                sources,
                start_ms=start_ms,
                end_ms=end_ms,
                points=points,
                names=streams,
                most_bytes=SERIES_BYTES if streams is None else None,
                facts=facts,
            )
            return _binary(content)
    except SeriesError as error:
        raise HTTPException(422, str(error)) from error


def _binary(content: bytes) -> Response:
    return Response(content, media_type="application/octet-stream")
