"""The application: routes, the form of every error, the guard."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from robotrace._version import __version__
from robotrace.serve import (
    api_keys,
    audit_log,
    cli_auth,
    downloads,
    episode_life,
    episodes,
    evals,
    explanations,
    features,
    ingest,
    objects,
    operations,
    portal_cameras,
    portal_compare,
    portal_data,
    portal_evals,
    portal_export,
    portal_keys,
    portal_life,
    portal_login,
    portal_pages,
    portal_renders,
    portal_verify,
    quotas,
    reproductions,
    verify,
)
from robotrace.serve.database import UnstorableText
from robotrace.serve.guard import Guard, security_headers
from robotrace.serve.hosts import is_wildcard, served_names
from robotrace.serve.janitor import Janitor
from robotrace.serve.openapi import install_openapi
from robotrace.serve.renders import RenderRefused, Renders
from robotrace.serve.requests import REQUEST_ID_HEADER, REQUEST_ID_KEY, Requests
from robotrace.serve.services import Services, SignInNeeded
from robotrace.serve.store import StoreError
from robotrace.serve.themes import Themes

__all__ = ["create_app"]


def create_app(services: Services, renders: Renders, janitor: Janitor) -> FastAPI:
    """The application of a deployment, over a database that is migrated.

    Args:
        services: Its parts; they stay the caller's to close.
        renders: Its renders; likewise.
        janitor: What tidies up; likewise.
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
    app.state.janitor = janitor
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(StoreError, _refused)
    app.add_exception_handler(RenderRefused, _refused)
    app.add_exception_handler(UnstorableText, _unstorable)
    app.add_exception_handler(Exception, _internal_error)
    settings = services.settings
    app.add_exception_handler(SignInNeeded, portal_login.ask_to_sign_in)
    app.add_middleware(
        Guard,
        hosts=served_names(settings.host, settings.public_url),
        addresses=is_wildcard(settings.host),
        direct=not settings.asks_for_sign_in,
        store_origin=services.store.origin,
    )
    app.add_middleware(Themes)
    app.state.metrics = operations.make_metrics(services, renders)
    app.add_middleware(Requests, metrics=app.state.metrics.requests)
    for routes in (
        ingest,
        episode_life,
        downloads,  # before the route that takes any id
        episodes,
        evals,
        features,
        verify,
        reproductions,
        explanations,
        objects,
        operations,
        quotas,
        portal_cameras,
        portal_compare,
        portal_data,
        portal_pages,
        portal_evals,
        portal_verify,
        portal_renders,
        portal_life,
        portal_export,
        cli_auth,
        portal_keys,
        portal_login,
        api_keys,
        audit_log,
    ):
        app.include_router(routes.router)
    portal_pages.mount_static(app)
    install_openapi(app)
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
    # Answered outside the middlewares, which add these to other answers.
    request_id = str(request.scope.get(REQUEST_ID_KEY, ""))
    headers = {**security_headers(request.app.state.services.store.origin), REQUEST_ID_HEADER: request_id}
    return JSONResponse(
        {"error": f"internal error; the log of the deployment says more (request {request_id})"}, 500, headers=headers
    )
