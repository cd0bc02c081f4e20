"""The OpenTelemetry trace an episode belongs to, at no cost for those who do not use it.

Importing OpenTelemetry takes 45 to 170 ms, so it is asked only where the application has imported it already;
otherwise ``TRACEPARENT`` (W3C Trace Context, section 3.2) is read from the environment, which needs no import.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

__all__ = ["current_trace", "parse_traceparent", "trace_of"]

# Any two-digit flags: SDKs send 03 (random-trace-id) as well as 00 and 01.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def current_trace() -> dict[str, str] | None:
    """The current span of the calling thread, unsampled ones too.

    Returns:
        ``{trace_id: 32 hex, span_id: 16 hex, traceparent}``, or None outside any valid span.
    """
    return _from_api() or parse_traceparent(os.environ.get("TRACEPARENT"))


def trace_of(context: Any) -> dict[str, str] | None:
    """The ids of an OpenTelemetry ``SpanContext``, in the form of :func:`current_trace`; None for an invalid one."""
    if not context.is_valid:
        return None
    return _trace(f"{context.trace_id:032x}", f"{context.span_id:016x}", f"{int(context.trace_flags):02x}")


def _from_api() -> dict[str, str] | None:
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    try:
        return trace_of(api.get_current_span().get_span_context())
    except Exception:  # an exotic or half-initialised provider; no trace is worth an exception
        return None


def parse_traceparent(value: str | None) -> dict[str, str] | None:
    """A W3C ``traceparent``, in the form of :func:`current_trace`; None for what is none."""
    match = _TRACEPARENT.fullmatch((value or "").strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or not int(trace_id, 16) or not int(span_id, 16):
        return None
    if more and version == "00":  # only later versions may say more
        return None
    return _trace(trace_id, span_id, flags)


def _trace(trace_id: str, span_id: str, flags: str) -> dict[str, str]:
    return {"trace_id": trace_id, "span_id": span_id, "traceparent": f"00-{trace_id}-{span_id}-{flags}"}
