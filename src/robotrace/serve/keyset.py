"""Pages by keyset: a cursor names the row a page ended with, newest first by ``(created_at, id)``.

Not an offset: what arrives meanwhile moves nothing, and page 1,000 costs what page 1 does.
"""

from __future__ import annotations

import base64
import json
from datetime import datetime, timezone
from typing import Any

from fastapi import HTTPException
from sqlalchemy import ColumnElement, literal, tuple_

from robotrace.serve.models import UtcDateTime

__all__ = ["after_cursor", "cursor_of"]


def cursor_of(created_at: datetime, row_id: str) -> str:
    """The cursor of the page after this row."""
    text = json.dumps([created_at.isoformat(), row_id])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def after_cursor(created_at: Any, row_id: Any, cursor: str) -> ColumnElement[bool]:
    """The condition that a row comes after the cursor.

    Args:
        created_at: The column of the time.
        row_id: The column of the id.
        cursor: What :func:`cursor_of` returned.

    Raises:
        HTTPException: 400 for a cursor that function did not make.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text, last_id = json.loads(base64.urlsafe_b64decode(padded))
        moment = datetime.fromisoformat(text).astimezone(timezone.utc)
        if not isinstance(last_id, str):
            raise ValueError(cursor)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise HTTPException(400, "cursor: not one of ours") from None
    return tuple_(created_at, row_id) < tuple_(literal(moment, UtcDateTime), literal(last_id))
