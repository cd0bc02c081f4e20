"""What those who run a deployment ask it: does it live, can it work, how much does it do."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from robotrace.serve.metrics import CONTENT_TYPE_LATEST, Metrics
from robotrace.serve.models import DEFAULT_PROJECT_ID, DoomedObject, Episode
from robotrace.serve.renders import Renders
from robotrace.serve.services import Services, Viewer, get_services, require_key
from robotrace.serve.settings import Settings

__all__ = ["Ready", "is_operator", "make_metrics", "readiness", "router"]

_logger = logging.getLogger(__name__)
_PROBED_KEY = "readyz"

router = APIRouter()


class Alive(BaseModel):
    """``GET /healthz``."""

    status: str = "ok"


class Ready(BaseModel):
    """``GET /readyz``: "ok", or what is wrong with a part."""

    database: str
    storage: str


@router.get("/healthz")
async def healthz() -> Alive:
    """The process answers; in the event loop, so that threads that are all busy do not make it look dead."""
    return Alive()


@router.get("/readyz", response_model=Ready, responses={503: {"model": Ready, "description": "Not ready"}})
def readyz(request: Request) -> JSONResponse:
    """The database and the store answer."""
    ready = readiness(get_services(request))
    works = ready.database == ready.storage == "ok"
    return JSONResponse(ready.model_dump(), 200 if works else 503)


def readiness(services: Services) -> Ready:
    """Ask the database and the store whether they answer."""
    return Ready(
        database=_probe("database", lambda: _ask_database(services)),
        storage=_probe("storage", lambda: services.store.size(_PROBED_KEY)),
    )


def is_operator(settings: Settings, viewer: Viewer) -> bool:
    """Whether somebody may see what is of the whole deployment: where things lie, and how it is set.

    The first project is the operator's, as for the metrics; where nobody signs in, whoever looks is at this machine.
    """
    return not settings.asks_for_sign_in or viewer.project_id == DEFAULT_PROJECT_ID


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus metrics"}},
)
def read_metrics(request: Request) -> Response:
    """The metrics in Prometheus' text format; for this machine, or with a key of the project ``default``.

    The settings may make them public.
    """
    settings = get_services(request).settings
    # Where nobody has to sign in, only this machine gets through to us.
    local = settings.metrics == "local" and not settings.asks_for_sign_in
    # They tell of every project: the operator's is the first one.
    if settings.metrics != "public" and not local and require_key(request).project_id != DEFAULT_PROJECT_ID:
        raise HTTPException(403, "the metrics take a key of the project default")
    metrics = request.app.state.metrics
    assert isinstance(metrics, Metrics)
    return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)


def make_metrics(services: Services, renders: Renders) -> Metrics:
    """The metrics of a deployment with these parts."""

    def counted(query: Callable[[Session], Iterable[tuple[str, float]]]) -> Callable[[], list[tuple[str, float]]]:
        def read() -> list[tuple[str, float]]:
            with services.database.read() as session:
                return list(query(session))

        return read

    return Metrics(
        (
            ("robotrace_episodes", "Episodes by status.", "status", counted(_episodes_by_status)),
            (
                "robotrace_doomed_objects",
                "Objects of deleted episodes that still lie in the store.",
                None,
                counted(_doomed),
            ),
            ("robotrace_renders", "Renders that wait or run.", "state", renders.counts),
            ("robotrace_database_connections", "Connections to the database.", "state", services.database.connections),
        )
    )


def _episodes_by_status(session: Session) -> Iterable[tuple[str, float]]:
    rows = session.execute(select(Episode.status, func.count()).group_by(Episode.status))
    return [(status, count) for status, count in rows]


def _doomed(session: Session) -> Iterable[tuple[str, float]]:
    query = select(func.count()).select_from(DoomedObject).where(DoomedObject.swept_at.is_(None))
    return [("", session.scalar(query) or 0)]


def _ask_database(services: Services) -> None:
    with services.database.read() as session:
        session.execute(text("SELECT 1"))


def _probe(name: str, ask: Callable[[], object]) -> str:
    try:
        ask()
    except Exception as error:  # whatever it is, it is not ready; the text may hold a host or a path, for the log only
        _logger.warning("%s is not ready: %s: %s", name, type(error).__name__, str(error).partition(os.linesep)[0])
        return f"does not answer ({type(error).__name__})"
    return "ok"
