"""The API's own description, made true: which errors there are and what they look like, and who may call what.

FastAPI describes a wrong request as its own 422; here it is the contract's 400. What else a route may answer follows
from its form (a key is asked for, there is an id in its path, it takes a body), and for some it is listed.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

__all__ = ["install_openapi"]

_ERROR = {"$ref": "#/components/schemas/Error"}
_TEXTS = {
    "400": "The request is wrong; the text names the field",
    "401": "A valid API key is needed",
    "403": "Not for this key, or not from a page of another site",
    "404": "There is no such thing, or it is of another project",
    "408": "The body did not arrive in time",
    "409": "Not as things stand; the text says how",
    "410": "The login has expired or was used",
    "413": "The body is too large",
    "422": "Refused for good",
    "429": "Too many, or the project is full",
    "503": "The store does not answer",
}
_KEYLESS = ("/api/features", "/api/cli/auth/start", "/api/cli/auth/poll")
_FURTHER = {
    "post /api/ingest/episode": ("422",),
    "post /api/ingest/episode/{episode_id}/upload-urls": ("409", "503"),
    "post /api/ingest/episode/{episode_id}/finalize": ("409", "413", "503"),
    "post /api/ingest/episode/{episode_id}/reproduction": ("409", "413", "503"),
    "delete /api/episodes/{episode_id}": ("409",),
    "get /api/episodes/download": ("404",),
    "post /api/episodes/download": ("404",),
    "get /api/episodes/{episode_id}/artifact/{kind}": ("503",),
    "post /api/verify/promote": ("404",),
    "post /api/verify/result": ("404",),
    "post /api/cli/auth/start": ("403", "429"),
    "post /api/cli/auth/poll": ("410",),
}
_METRICS = "/metrics"
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, rt_…"},
    "key": {"type": "apiKey", "in": "header", "name": "X-RoboTrace-Key"},
}
_FASTAPIS = ("HTTPValidationError", "ValidationError")


def install_openapi(app: FastAPI) -> None:
    """Have the application describe itself by this module."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # how FastAPI's documentation has it


def _describe(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description="Episodes of robots that learn: what comes in, what can be read, and what is checked.",
        routes=app.routes,
    )
    schemas = document["components"]["schemas"]
    for name in _FASTAPIS:
        schemas.pop(name, None)
    schemas["Error"] = {
        "type": "object",
        "title": "Error",
        "properties": {"error": {"type": "string", "title": "Error"}},
        "required": ["error"],
    }
    document["components"]["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _describe_operation(path, method, operation)
    return document


def _describe_operation(path: str, method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422", "")):
        del responses["422"]
    statuses = set(_FURTHER.get(f"{method} {path}", ()))
    keyed = path.startswith("/api/") and path not in _KEYLESS
    if path.startswith("/api/"):
        statuses.add("400")
    if keyed:
        operation["security"] = [{name: []} for name in _SCHEMES]
        statuses |= {"401", "429"}
    if path == _METRICS:
        operation["security"] = [{}, *({name: []} for name in _SCHEMES)]
        statuses |= {"401", "403", "429"}
    if "{" in path:
        statuses.add("404")
    if "requestBody" in operation:
        statuses |= {"408", "413"}
    for status in sorted(statuses):
        described = responses.setdefault(status, {"description": _TEXTS[status]})
        described.setdefault("content", {"application/json": {"schema": _ERROR}})
        if status == "429":
            described["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "In seconds"}}
        if status == "401":
            described["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
