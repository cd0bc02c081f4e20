"""The application: routes, the form of every error, the guard."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from robotrace._version import __version__
from robotrace.serve import (
    cli_auth,
    episodes,
    evals,
    explanations,
    ingest,
    objects,
    portal_data,
    portal_evals,
    portal_keys,
    portal_pages,
    portal_renders,
    portal_verify,
    reproductions,
    verify,
)
from robotrace.serve.database import UnstorableText
from robotrace.serve.guard import SECURITY_HEADERS, Guard
from robotrace.serve.renders import RenderRefused, Renders
from robotrace.serve.services import Services
from robotrace.serve.store import StoreError

__all__ = ["create_app"]

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


def create_app(services: Services, renders: Renders) -> FastAPI:
    """The application of a deployment, over a database that is migrated.

    Args:
        services: Its parts; they stay the caller's to close.
        renders: Its renders; likewise.
    """
    app = FastAPI(
        title="RoboTrace",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,  # both load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.renders = renders
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(StoreError, _refused)
    app.add_exception_handler(RenderRefused, _refused)
    app.add_exception_handler(UnstorableText, _unstorable)
    app.add_exception_handler(Exception, _internal_error)
    host = f"[{services.settings.host}]" if ":" in services.settings.host else services.settings.host
    app.add_middleware(Guard, hosts=(*_LOOPBACK_NAMES, host))
    for routes in (
        ingest,
        episodes,
        evals,
        verify,
        reproductions,
        explanations,
        objects,
        portal_data,
        portal_pages,
        portal_evals,
        portal_verify,
        portal_renders,
        cli_auth,
        portal_keys,
    ):
        app.include_router(routes.router)
    portal_pages.mount_static(app)
    return app


def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    # The location begins with where it was: body, query, header. Malformed JSON has a position behind it.
    names = [part for part in first["loc"][1:] if isinstance(part, str)] or [str(first["loc"][0])]
    return JSONResponse({"error": f"{'.'.join(names)}: {first['msg']}"}, 400)


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)


def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, (StoreError, RenderRefused))
    return JSONResponse({"error": str(error)}, error.status_code)


def _unstorable(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 400)


def _internal_error(request: Request, error: Exception) -> JSONResponse:
    # Answered outside the guard.
    return JSONResponse({"error": "internal error; the log of the deployment says more"}, 500, headers=SECURITY_HEADERS)
