"""How an episode comes in: create, PUT the files, finalize."""

from __future__ import annotations

import math
import uuid
from collections.abc import Collection, Iterable
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, Header, HTTPException, Request
from sqlalchemy import select

from robotrace.serve.analyses import explain_when_failed
from robotrace.serve.arrivals import collect_first
from robotrace.serve.artifacts import signed_upload
from robotrace.serve.episodes import episode_or_404
from robotrace.serve.lifecycle import unreap
from robotrace.serve.models import DeletedEpisode, Episode, utc_now
from robotrace.serve.quotas import over_quota
from robotrace.serve.renders import get_renders
from robotrace.serve.reproductions import describe_video
from robotrace.serve.schemas import (
    KINDS,
    MAX_CAMERAS,
    ArtifactClaim,
    ArtifactKind,
    CreatedEpisode,
    CreateEpisode,
    FinalizedEpisode,
    FinalizeEpisode,
    UploadUrl,
    UploadUrls,
)
from robotrace.serve.schemas_reroll import SignUploads
from robotrace.serve.services import ApiCaller, Services, get_services, public_base_url, require_key
from robotrace.serve.values import boolean, finite
from robotrace.serve.video_index import ensure_video_indexes

__all__ = ["router"]

router = APIRouter(prefix="/api/ingest", dependencies=[Depends(require_key)])

_INT64_MAX = 2**63 - 1


@router.post("/episode", status_code=201)
def create_episode(
    body: CreateEpisode,
    request: Request,
    caller: ApiCaller,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> CreatedEpisode:
    """Open an episode; a repeat with the same ``Idempotency-Key`` answers with the same one and fresh URLs."""
    services = get_services(request)
    kinds = list(dict.fromkeys(body.request_uploads))
    full = over_quota(services, caller.project_id)
    with services.database.write() as session:
        # The write lock is held: of two repeats at once, the second one finds the row of the first.
        episode = None
        if idempotency_key is not None:
            episode = session.scalar(
                select(Episode).where(
                    Episode.project_id == caller.project_id, Episode.idempotency_key == idempotency_key
                )
            )
            if episode is None and session.get(DeletedEpisode, (caller.project_id, idempotency_key)) is not None:
                # Not 410: uploaders take that for a wrong address, and stop for every episode.
                raise HTTPException(422, "the episode of this Idempotency-Key was deleted here")
        if episode is None:
            if full is not None:
                raise full
            now = utc_now()
            episode = Episode(
                id=str(uuid.uuid4()),
                project_id=caller.project_id,
                idempotency_key=idempotency_key,
                status="recording",
                source=body.source,
                name=body.name,
                robot=body.robot,
                policy_version=body.policy_version,
                env_version=body.env_version,
                git_sha=body.git_sha,
                seed=body.seed,
                fps=body.fps,
                otel=None if body.otel is None else body.otel.model_dump(),
                requested_uploads=kinds,
                created_at=now,
                updated_at=now,
            )
            _set_metadata(episode, body.metadata or {})
            session.add(episode)
            services.usage.created(caller.project_id)
        return CreatedEpisode(
            episode_id=episode.id,
            status=episode.status,
            storage="r2",
            upload_urls=_upload_urls(services, request, episode),
        )


@router.post("/episode/{episode_id}/upload-urls")
def sign_uploads(episode_id: str, request: Request, caller: ApiCaller, body: SignUploads | None = None) -> UploadUrls:
    """Sign the upload URLs of an episode again, and those of empty slots that create did not ask for."""
    services = get_services(request)
    further = [] if body is None else body.kinds
    with services.database.read() as session:
        episode = episode_or_404(session, episode_id, caller.project_id)
        _refuse_archived(episode)
        for kind in further:
            _refuse_filled(services, episode, kind)
        _refuse_cameras([*episode.requested_uploads, *further, *(artifact.kind for artifact in episode.artifacts)])
        return UploadUrls(episode_id=episode.id, upload_urls=_upload_urls(services, request, episode, further))


@router.post("/episode/{episode_id}/finalize", dependencies=[Depends(collect_first)])
def finalize_episode(
    episode_id: str, body: FinalizeEpisode, request: Request, caller: ApiCaller, background: BackgroundTasks
) -> FinalizedEpisode:
    """Close an episode; the first finalize counts, a repeat changes nothing and answers with what is stored."""
    services = get_services(request)
    claims = body.artifacts or ()
    lost = _lost_objects(services, episode_id, caller.project_id) if claims else frozenset()
    with services.database.write() as session:
        episode = episode_or_404(session, episode_id, caller.project_id)
        _refuse_archived(episode)
        # On a repeat too: the client deletes its copy when we say that everything has arrived.
        _check_claims(episode, claims, lost)
        if episode.is_open:
            unreap(episode)
            _close(episode, body)
            # After the answer: demuxing a long video takes longer than a client should wait.
            background.add_task(ensure_video_indexes, services, episode_id)
            background.add_task(get_renders(request).consider, episode_id)
            background.add_task(explain_when_failed, services, episode_id)
        elif services.store.origin:  # a video that was made later may have been collected with this call
            background.add_task(describe_video, services, episode_id)
        return FinalizedEpisode(episode_id=episode.id, status=episode.status, updated_at=episode.updated_at)


def _upload_urls(
    services: Services, request: Request, episode: Episode, further: Iterable[ArtifactKind] = ()
) -> list[UploadUrl]:
    every = dict.fromkeys([*episode.requested_uploads, *further])
    return [signed_upload(services.store, public_base_url(request), episode.id, kind) for kind in every]


def _refuse_archived(episode: Episode) -> None:
    if episode.status == "archived":
        raise HTTPException(409, "the episode is archived")


def _refuse_cameras(kinds: Collection[ArtifactKind]) -> None:
    if len(set(kinds) - set(KINDS)) > MAX_CAMERAS:
        raise HTTPException(400, f"kinds: an episode has at most {MAX_CAMERAS} further cameras")


def _refuse_filled(services: Services, episode: Episode, kind: ArtifactKind) -> None:
    """A slot that was filled is closed with its episode; the PUT would say so only after all the bytes."""
    artifact = next((artifact for artifact in episode.artifacts if artifact.kind == kind), None)
    if episode.is_open or artifact is None or services.store.size(artifact.object_key) is None:
        return
    raise HTTPException(409, f"the episode is {episode.status} and has its {kind}: it cannot be replaced")


def _lost_objects(services: Services, episode_id: str, project_id: int) -> frozenset[str]:
    """The keys of an episode's files that the store has not; looked up before the write lock is taken."""
    with services.database.read() as session:
        keys = [artifact.object_key for artifact in episode_or_404(session, episode_id, project_id).artifacts]
    return frozenset(key for key in keys if services.store.size(key) is None)


def _check_claims(episode: Episode, claims: Iterable[ArtifactClaim], lost: Collection[str]) -> None:
    stored = {artifact.kind: artifact for artifact in episode.artifacts}
    for claim in claims:
        artifact = stored.get(claim.kind)
        if artifact is None or artifact.object_key in lost:
            raise HTTPException(409, f"{claim.kind}: nothing has arrived in this slot")
        if artifact.size != claim.size:
            raise HTTPException(409, f"{claim.kind}: {artifact.size} bytes have arrived, not {claim.size}")
        if artifact.sha256 != claim.sha256:
            raise HTTPException(409, f"{claim.kind}: the sha256 of what has arrived is {artifact.sha256}")


def _close(episode: Episode, body: FinalizeEpisode) -> None:
    episode.status = body.status
    if body.duration_s is not None:
        episode.duration_s = body.duration_s
    if body.fps is not None:
        episode.fps = body.fps
    if body.bytes_total is not None:
        episode.bytes_total = body.bytes_total
    if body.status == "failed" and body.failure_time_s is not None:
        latest = math.inf if episode.duration_s is None else episode.duration_s
        episode.failure_time_s = min(max(body.failure_time_s, 0.0), latest)
    if body.metadata:
        _set_metadata(episode, {**episode.meta, **body.metadata})
    episode.updated_at = utc_now()


def _set_metadata(episode: Episode, metadata: dict[str, Any]) -> None:
    """Store the metadata, and what lists show of it in columns; what is not of the expected type is not shown."""
    episode.meta = metadata
    outcome = metadata.get("outcome")
    outcome = outcome if isinstance(outcome, dict) else {}
    success, reward, steps = (outcome.get(name) for name in ("success", "reward_total", "steps"))
    reason = metadata.get("failure_reason")
    episode.success = boolean(success)
    episode.reward_total = finite(reward)
    episode.steps = steps if type(steps) is int and abs(steps) <= _INT64_MAX else None
    # A NUL is no character of a text column; the metadata keep it.
    episode.failure_reason = reason.replace("\0", "\ufffd") if isinstance(reason, str) else None
