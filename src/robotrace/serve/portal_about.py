"""The page that says what this deployment is: for whoever has a question to its makers, or connects a robot to it."""

from __future__ import annotations

import platform
import re
from functools import lru_cache
from importlib import metadata
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from robotrace._version import __version__
from robotrace.serve.features import Features, features
from robotrace.serve.operations import Ready, is_operator, readiness
from robotrace.serve.pages import page
from robotrace.serve.schemas import Utc
from robotrace.serve.services import PageViewer, Services, Viewer, get_services, public_base_url
from robotrace.serve.vendor import VENDOR_LICENCES

__all__ = ["AboutView", "router"]

router = APIRouter(include_in_schema=False)

_ABOUT = "/portal/about"
_PACKAGES = (
    *("alembic", "av", "fastapi", "httpx", "jinja2", "numpy", "obstore", "prometheus-client", "psycopg", "pydantic"),
    *("sqlalchemy", "starlette", "uvicorn", "zipstream-ng"),
)
_UNKNOWN = "see the package"


class Part(BaseModel):
    """Something by others that this deployment works with; ``served`` to browsers, or a Python package."""

    name: str
    version: str
    licence: str
    served: bool


class Setting(BaseModel):
    """How the deployment is set, in words."""

    name: str
    value: str


class AboutView(BaseModel):
    """What this deployment is; ``settings`` is None for viewers of another project than "default"."""

    version: str
    python: str
    started_at: Utc
    base_url: str
    health: Ready
    database: str | None
    schema_revision: str | None
    store: Literal["folder", "bucket"]
    features: Features
    settings: list[Setting] | None
    parts: list[Part]


def _about(request: Request, viewer: Viewer) -> AboutView:
    services = get_services(request)
    database = schema = None
    try:
        database, schema = services.database.server_version(), services.database.schema()
    except SQLAlchemyError:
        pass  # what is wrong with it is said under health
    return AboutView(
        version=__version__,
        python=f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}",
        started_at=services.started_at,
        base_url=public_base_url(request),
        health=readiness(services),
        database=database,
        schema_revision=schema,
        store="bucket" if services.settings.storage else "folder",
        features=features(),
        settings=_settings(services) if is_operator(services.settings, viewer) else None,
        parts=_parts(),
    )


def _settings(services: Services) -> list[Setting]:
    settings = services.settings
    days = None if settings.reap_after is None else settings.reap_after.total_seconds() / 86400
    found = {
        "Listens on": settings.host,
        "Reached as": settings.public_url or "the address it listens on",
        "Pages": "ask for an API key" if settings.asks_for_sign_in else "open to whoever is at this machine",
        "Runs episodes again": "yes" if settings.runs_code else "no",
        "Renders failed episodes": "by itself" if settings.render_failed else "when asked",
        "Metrics": {"local": "for this machine, or with a key", "key": "with a key", "public": "for everybody"}[
            settings.metrics
        ],
        "Calls a second per key": "any number" if settings.rate_limit is None else f"{settings.rate_limit:g}",
        "Recording without news": "for ever" if days is None else f"fails after {days:g} days",
        "Audit log": f"{settings.audit_days} days",
    }
    return [Setting(name=name, value=value) for name, value in found.items()]


@lru_cache(maxsize=1)
def _parts() -> list[Part]:
    parts = [
        Part(name=name, version=version, licence=licence, served=True) for name, version, licence in VENDOR_LICENCES
    ]
    for name in _PACKAGES:
        try:
            found = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue  # of an extra
        parts.append(Part(name=found["Name"], version=found["Version"], licence=_licence(found), served=False))
    return parts


def _licence(found: metadata.PackageMetadata) -> str:
    """What a package says of itself: an expression, else its classifier, else a short text."""
    if "License-Expression" in found:
        return found["License-Expression"]
    named = [text.rpartition("::")[2].strip() for text in found.get_all("Classifier") or () if "License ::" in text]
    if named := [text for text in named if text != "OSI Approved"]:
        return re.sub(r" License$", "", named[0])
    text = found["License"].strip() if "License" in found else ""
    return text if text and "\n" not in text and len(text) < 60 else _UNKNOWN


@router.get(_ABOUT + ".json")
def about_json(request: Request, viewer: PageViewer) -> AboutView:
    """What this deployment is."""
    return _about(request, viewer)


@router.get(_ABOUT)
def about_page(request: Request, viewer: PageViewer) -> HTMLResponse:
    """The same to look at."""
    return page("about.html", viewer=viewer, about=_about(request, viewer))
