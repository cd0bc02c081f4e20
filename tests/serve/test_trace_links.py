"""Links to where traces are shown."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from robotrace.errors import ConfigurationError
from robotrace.serve.models import Episode
from robotrace.serve.trace_links import checked_trace_url, trace_url

CREATED = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def episode(otel: Any) -> Episode:
    return Episode(id="6d0c", otel=otel, created_at=CREATED, duration_s=10.0)


def test_a_template_is_filled_in() -> None:
    template = checked_trace_url(" https://grafana.example/{trace_id}?span={span_id}&from={start_ms}&to={end_ms} ")
    hour, noon = 3_600_000, round(CREATED.timestamp() * 1000)
    assert trace_url(template, episode({"trace_id": "ab" * 16, "span_id": "cd"})) == (
        f"https://grafana.example/{'ab' * 16}?span=cd&from={noon - 10_000 - hour}&to={noon + hour}"
    )


def test_what_a_robot_sends_stays_within_its_place() -> None:
    template = checked_trace_url("https://jaeger.example/trace/{trace_id}#{episode_id}")
    assert (
        trace_url(template, episode({"trace_id": '../../x?a=b&"<'}))
        == "https://jaeger.example/trace/..%2F..%2Fx%3Fa%3Db%26%22%3C#6d0c"
    )


@pytest.mark.parametrize("otel", [None, {}, {"trace_id": ""}, {"trace_id": ["x"]}, {"span_id": "cd"}])
def test_there_is_no_link_without_a_trace(otel: Any) -> None:
    assert trace_url("https://jaeger.example/trace/{trace_id}", episode(otel)) is None
    assert trace_url(None, episode({"trace_id": "ab"})) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("javascript:alert({trace_id})", "is no URL of traces"),
        ("https://{trace_id}/", "is no URL of traces"),
        ("https://jaeger.example/ {trace_id}", "is no URL of traces"),
        ("https://jaeger.example/{trace_id", "is no URL of traces"),
        ("https://jaeger.example/{trace_id}/{password}", "has no {password}; it takes {trace_id}, {span_id}"),
        ("https://jaeger.example/{trace_id.__class__}", "has no"),
        ("https://jaeger.example/{trace_id!r}", "has no"),
        ("https://jaeger.example/{trace_id:>99999999}", "has no"),
        ("https://jaeger.example/search", "names no {trace_id}"),
    ],
)
def test_a_template_that_is_none_is_refused_at_the_start(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        checked_trace_url(text)
    assert says in str(refused.value)
