"""The portal's HTML pages, and the scripts and style sheets they load.

Texts are rendered here, so that a page is complete without a script; scripts only add what moves.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.types import Scope

from robotrace.serve.gate import SEVERITIES
from robotrace.serve.pages import REVALIDATE, page
from robotrace.serve.portal_data import EpisodeView, episode_view
from robotrace.serve.portal_format import length_s
from robotrace.serve.portal_metadata import metadata_tree
from robotrace.serve.renders import get_renders
from robotrace.serve.services import PageViewer, get_services
from robotrace.serve.vendor import VENDOR_FILES, vendor_file

__all__ = ["mount_static", "router"]

_HERE = Path(__file__).parent
_EPISODES = "/portal/episodes"

# A module of another type is not run, and what a machine's registry says about .js differs.
_STATIC_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/")
def home() -> RedirectResponse:
    """The portal starts at the list of episodes."""
    return RedirectResponse(_EPISODES)


@router.get(_EPISODES + "/{episode_id}")
def episode_page(episode_id: str, request: Request, viewer: PageViewer) -> HTMLResponse:
    """One episode: what made it, what it looked like, what it measured."""
    try:
        view = episode_view(get_services(request), get_renders(request), viewer, episode_id)
    except HTTPException:
        missing = {"what": "episode", "id": episode_id, "home": _EPISODES, "home_label": "All episodes"}
        return page("missing.html", 404, viewer=viewer, **missing)
    episode = view.episode
    return page(
        "episode.html",
        viewer=viewer,
        episode=episode,
        artifacts=view.artifacts,
        cameras=view.cameras,
        playable=bool(view.artifacts),
        # Shown when they are missing, too: an episode without them cannot be made again, and that should be seen.
        repro=[(name, getattr(episode, name)) for name in ("policy_version", "env_version", "git_sha", "seed")],
        episodes_url=_EPISODES,
        metadata=metadata_tree(episode.metadata),
        neighbours=view.neighbours,
        trace_url=view.trace_url,
        exports=view.exports,
        size=sum(artifact.size for artifact in view.artifacts),
        facts=_facts(view),
        scenario=view.scenario,
        reproduction=view.reproduction,
        rerun=view.rerun,
        analysis=view.analysis,
        analysis_pending=view.analysis_pending,
        severities=SEVERITIES,
    )


def _facts(view: EpisodeView) -> list[tuple[str, str]]:
    episode, video = view.episode, view.video
    facts = [
        ("robot", episode.robot),
        ("source", episode.source),
        ("duration", None if episode.duration_s is None else length_s(episode.duration_s)),
        ("rate", None if episode.fps is None else f"{episode.fps:g} fps"),
        ("frames", None if video is None else f"{video.frame_count}"),
        ("picture", None if video is None else f"{video.width} × {video.height}"),
        ("cameras", f"{len(view.cameras)}" if len(view.cameras) > 1 else None),
    ]
    return [(label, value) for label, value in facts if value is not None]


class _StaticFiles(StaticFiles):
    """Static files that a browser asks about each time, and that are typed alike on every machine.

    They are held in memory: the page of an episode has 40 of them, and a thread and a file for each cost 3 ms.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)
        self._held = {path.name: self._hold(path) for path in directory.iterdir() if path.suffix in _STATIC_TYPES}

    @staticmethod
    def _hold(path: Path) -> tuple[bytes, dict[str, str]]:
        content = path.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        return content, {**REVALIDATE, "ETag": etag, "Content-Type": _STATIC_TYPES[path.suffix]}

    async def get_response(self, path: str, scope: Scope) -> Response:
        if path not in self._held or scope["method"] not in ("GET", "HEAD"):
            return await super().get_response(path, scope)  # which says what is wrong
        content, headers = self._held[path]
        if Headers(scope=scope).get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers)


def mount_static(app: FastAPI) -> None:
    """Serve the portal's scripts and style sheets under ``/static``, the vendored ones under ``/static/vendor``."""

    async def vendored(name: str, request: Request) -> Response:
        if name not in VENDOR_FILES:
            raise HTTPException(404, "not found")
        file = VENDOR_FILES[name]
        headers = {**REVALIDATE, "ETag": f'"{file.sha256}"'}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(vendor_file(name), media_type=file.media_type, headers=headers)

    app.add_api_route("/static/vendor/{name}", vendored, methods=["GET"], include_in_schema=False)
    app.mount("/static", _StaticFiles(_HERE / "static"), name="static")
