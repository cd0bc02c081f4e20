"""What the portal's HTML pages share: the templates, the headers of a page, the fields of a posted form."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from robotrace.serve.modules import imports_of
from robotrace.serve.portal_format import FILTERS, GLOBALS
from robotrace.serve.themes import current_theme

__all__ = ["REVALIDATE", "form_fields", "page"]

REVALIDATE = {"Cache-Control": "no-cache"}
"""Asked for again each time, answered with 304: a page never runs the script of the version before an upgrade."""

# With the "no-referrer" of other answers, a browser would send "Origin: null" with our own forms.
_PAGE_HEADERS = {**REVALIDATE, "Referrer-Policy": "same-origin"}

# Names come from robots: everything is escaped, and a name misspelt in a template is an error.
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(FILTERS)
_templates.globals.update(GLOBALS, imports_of=imports_of)


def page(template: str, status_code: int = 200, **context: Any) -> HTMLResponse:
    """A page made from a template of the ``templates`` folder."""
    text = _templates.get_template(template).render(context, theme=current_theme())
    return HTMLResponse(text, status_code, headers=_PAGE_HEADERS)


async def form_fields(request: Request) -> dict[str, str]:
    """The fields of a posted form, as a dependency; of a name sent twice the last one counts.

    Example::

        def route(fields: Annotated[dict[str, str], Depends(form_fields)]) -> Response: ...

    Raises:
        HTTPException: 400 for a body that is no URL-encoded form.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if content_type != "application/x-www-form-urlencoded":
            raise ValueError(content_type)
        return dict(
            parse_qsl(
                (await request.body()).decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100
            )
        )
    except ValueError:
        raise HTTPException(400, "not a URL-encoded form") from None
