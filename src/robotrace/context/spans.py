"""One OpenTelemetry span per episode, for those who ask for it (``otel_spans=True``).

The span is started with the context of the reset and never made the current one: between a reset and the episode's end
the user's own code enters and leaves spans, and a token of ours among theirs would put the wrong one back.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
from collections.abc import Mapping
from typing import Any

from robotrace import faults
from robotrace._version import __version__
from robotrace.context.trace import current_trace, parse_traceparent, trace_of

__all__ = ["EpisodeSpan", "start_episode_span", "tracing_installed"]

_NAME = "robotrace.episode"


def tracing_installed() -> bool:
    """Whether ``opentelemetry-api`` can be imported; it is not imported here, which takes 45 to 170 ms."""
    try:
        return importlib.util.find_spec("opentelemetry.trace") is not None
    except ModuleNotFoundError:
        return False


class EpisodeSpan:
    """A span that has begun; its methods never raise. One that is never ended is never exported.

    Attributes:
        trace: ``{trace_id, span_id, traceparent}`` of the span itself; None where no SDK records it, because its ids
            are then its parent's, or none.
    """

    def __init__(self, span: Any) -> None:
        self._span = span
        self.trace = trace_of(span.get_span_context()) if span.is_recording() else None

    def describe(self, attributes: Mapping[str, str | int | float | bool | None]) -> None:
        """Set what is known; what is None is left out."""
        try:
            self._span.set_attributes({key: value for key, value in attributes.items() if value is not None})
        except Exception as exc:  # an exotic provider; no span is worth an exception
            faults.report("an episode's span could not be described", exc)

    def end(self, *, failed: str | None, error: BaseException | None) -> None:
        """The episode is over.

        Args:
            failed: Why it failed; None where it did not.
            error: The exception that ended it.
        """
        try:
            if failed is not None:
                trace = importlib.import_module("opentelemetry.trace")
                self._span.set_status(trace.Status(trace.StatusCode.ERROR, failed))
            if isinstance(error, Exception):
                self._span.record_exception(error)
            self._span.end(time.time_ns())
        except Exception as exc:
            faults.report("an episode's span could not be ended", exc)


def start_episode_span(run: str | None = None) -> EpisodeSpan | None:
    """Begin a span below the calling thread's current one, else below that of ``TRACEPARENT``.

    Args:
        run: The ``traceparent`` of the span in which the run was begun, to be linked where it is not the parent.

    Returns:
        None, after one warning a process, where OpenTelemetry fails.
    """
    try:
        trace = importlib.import_module("opentelemetry.trace")
        context = None
        parent = trace.get_current_span().get_span_context()
        if not parent.is_valid:
            found = current_trace()
            if found is not None:
                parent = _remote(trace, found, os.environ.get("TRACESTATE"))
                context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
        beside = parse_traceparent(run)
        links = []
        if beside is not None and int(beside["span_id"], 16) != parent.span_id:
            links.append(trace.Link(_remote(trace, beside, None)))
        return EpisodeSpan(
            trace.get_tracer("robotrace", __version__).start_span(
                _NAME, context=context, links=links, start_time=time.time_ns()
            )
        )
    except Exception as exc:
        faults.report("an episode's span could not be started", exc)
        return None


def _remote(trace: Any, found: Mapping[str, str], state: str | None) -> Any:
    return trace.SpanContext(
        int(found["trace_id"], 16),
        int(found["span_id"], 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(int(found["traceparent"][-2:], 16)),
        trace_state=None if state is None else trace.TraceState.from_header([state]),
    )
