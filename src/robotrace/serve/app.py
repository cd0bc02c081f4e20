"""The application: routes, the form of every error, the guard."""

from __future__ import annotations

from fastapi import FastAPI

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
    portal_about,
    portal_audit,
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
    portal_storage,
    portal_verify,
    quotas,
    reproductions,
    verify,
)
from robotrace.serve.errors import install_error_handlers
from robotrace.serve.guard import Guard
from robotrace.serve.hosts import is_wildcard, served_names
from robotrace.serve.janitor import Janitor
from robotrace.serve.openapi import install_openapi
from robotrace.serve.renders import Renders
from robotrace.serve.requests import Requests
from robotrace.serve.services import Services, SignInNeeded
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
    install_error_handlers(app)
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
        portal_storage,
        portal_audit,
        portal_about,
        api_keys,
        audit_log,
    ):
        app.include_router(routes.router)
    portal_pages.mount_static(app)
    install_openapi(app)
    return app
