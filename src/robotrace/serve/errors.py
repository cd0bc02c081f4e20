"""How an error is answered: ``{"error": …}`` to programs, a page to people."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from robotrace.serve.database import UnstorableText
from robotrace.serve.guard import security_headers
from robotrace.serve.pages import page
from robotrace.serve.renders import RenderRefused
from robotrace.serve.requests import REQUEST_ID_HEADER, REQUEST_ID_KEY
from robotrace.serve.store import StoreError

__all__ = ["install_error_handlers"]

_FOR_PROGRAMS = ("/api/", "/objects/", "/static/", "/metrics", "/healthz", "/readyz")
_TITLES = {
    400: "That cannot be asked for",
    401: "Sign in first",
    403: "Not allowed",
    404: "Nothing here",
    405: "Nothing here",
    409: "Not as things stand",
    413: "Too large",
    429: "Too often",
    500: "Something broke",
    503: "Not now",
}
_NOTHING_HERE = "This deployment has no page at this address. A link that was cut off in a chat looks like that."


def install_error_handlers(app: FastAPI) -> None:
    """Have every error answered in its form."""
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(StoreError, _refused)
    app.add_exception_handler(RenderRefused, _refused)
    app.add_exception_handler(UnstorableText, _unstorable)
    app.add_exception_handler(Exception, _internal_error)


def _wants_page(request: Request) -> bool:
    """Whether somebody looks at the answer: a browser that goes to an address of ours, or sends a form."""
    path = request.url.path
    twin = "." in path.rpartition("/")[2]
    return not twin and not path.startswith(_FOR_PROGRAMS) and "text/html" in request.headers.get("accept", "")


def _answer(
    request: Request, text: str, status_code: int, headers: dict[str, str] | None = None, *, request_id: str = ""
) -> Response:
    if not _wants_page(request):
        return JSONResponse({"error": text}, status_code, headers=headers)
    title = _TITLES.get(status_code, f"Error {status_code}")
    told = _NOTHING_HERE if text in ("Not Found", "Method Not Allowed") else f"{text[:1].upper()}{text[1:]}."
    answer = page("error.html", status_code, title=title, text=told, request_id=request_id)
    answer.headers.update(headers or {})
    return answer


def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    # The location begins with where it was: body, query, header. Malformed JSON has a position behind it.
    names = [part for part in first["loc"][1:] if isinstance(part, str)] or [str(first["loc"][0])]
    return _answer(request, f"{'.'.join(names)}: {first['msg']}", 400)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(request, str(error.detail), error.status_code, dict(error.headers or {}))


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, (StoreError, RenderRefused))
    return _answer(request, str(error), error.status_code)


def _unstorable(request: Request, error: Exception) -> Response:
    return _answer(request, str(error), 400)


def _internal_error(request: Request, error: Exception) -> Response:
    # Answered outside the middlewares, which add these to other answers.
    request_id = str(request.scope.get(REQUEST_ID_KEY, ""))
    headers = {**security_headers(request.app.state.services.store.origin), REQUEST_ID_HEADER: request_id}
    if _wants_page(request):
        text = "The log of the deployment says more"
        return _answer(request, text, 500, headers, request_id=request_id)
    text = f"internal error; the log of the deployment says more (request {request_id})"
    return _answer(request, text, 500, headers)
