"""Links from an episode to its trace, in whatever shows traces: by a template that the operator gives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from string import Formatter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from robotrace.errors import ConfigurationError

if TYPE_CHECKING:
    from robotrace.serve.models import Episode

__all__ = ["checked_trace_url", "trace_url"]

_PLACEHOLDERS = ("trace_id", "span_id", "episode_id", "start_ms", "end_ms")
_MARGIN = timedelta(hours=1)
"""Around the time that is known of an episode: a trace is looked for in a part of the store."""


def checked_trace_url(text: str) -> str:
    """A template of links to traces, as it was given.

    Raises:
        ConfigurationError: It is no URL of http or https, or names something that is not known.
    """
    text = text.strip()
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and "{" not in parts.netloc
        fields = list(Formatter().parse(text))
        parts.port  # noqa: B018  # raises for one that is no number
    except ValueError:
        valid, fields = False, []
    if not valid or any(ord(letter) < 33 for letter in text):
        raise ConfigurationError(f"{text!r} is no URL of traces: https://NAME/trace/{{trace_id}}")
    for _, name, form, conversion in fields:
        if name is not None and (name not in _PLACEHOLDERS or form or conversion):
            known = ", ".join(f"{{{each}}}" for each in _PLACEHOLDERS)
            raise ConfigurationError(f"the URL of traces has no {{{name}}}; it takes {known}")
    if not any(name == "trace_id" for _, name, _, _ in fields):
        raise ConfigurationError("the URL of traces names no {trace_id}")
    return text


def trace_url(template: str | None, episode: Episode) -> str | None:
    """Where the trace of an episode is to be seen; None where nobody said, or the episode has none."""
    otel = episode.otel
    if template is None or not isinstance(otel, dict):
        return None
    values: Mapping[str, Any] = {
        "trace_id": otel.get("trace_id"),
        "span_id": otel.get("span_id"),
        "episode_id": episode.id,
        "start_ms": round(
            (episode.created_at - timedelta(seconds=episode.duration_s or 0) - _MARGIN).timestamp() * 1000
        ),
        "end_ms": round((episode.created_at + _MARGIN).timestamp() * 1000),
    }
    named = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    if any(not isinstance(values[name], (str, int)) or values[name] == "" for name in named):
        return None
    return template.format_map({name: quote(str(value), safe="") for name, value in values.items()})
