"""One span per episode, with a real SDK that exports into memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

api = pytest.importorskip("opentelemetry.trace")
pytest.importorskip("opentelemetry.sdk.trace")

from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

from robotrace.context.spans import start_episode_span, tracing_installed  # noqa: E402

PARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(api, "get_tracer", lambda *names, **more: provider.get_tracer(*names))
    yield exporter.get_finished_spans
    provider.shutdown()


def test_a_span_is_below_the_current_one_and_never_the_current_one(exported: Any) -> None:
    with api.get_tracer("user").start_as_current_span("training") as training:
        span = start_episode_span()
        assert api.get_current_span() is training
    assert span is not None
    span.describe({"robotrace.episode.index": 3, "robotrace.policy.version": None})
    span.end(failed=None, error=None)
    episode = next(found for found in exported() if found.name == "robotrace.episode")
    assert episode.parent.span_id == training.get_span_context().span_id
    assert dict(episode.attributes) == {"robotrace.episode.index": 3}
    assert episode.status.is_ok is not False
    assert span.trace == {
        "trace_id": f"{episode.context.trace_id:032x}",
        "span_id": f"{episode.context.span_id:016x}",
        "traceparent": span.trace["traceparent"],
    }


def test_a_traceparent_of_the_process_is_the_parent_where_no_span_is_current(
    exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", PARENT)
    span = start_episode_span()
    assert span is not None
    span.end(failed=None, error=None)
    (episode,) = exported()
    assert f"{episode.context.trace_id:032x}" == "ab" * 16
    assert f"{episode.parent.span_id:016x}" == "cd" * 8


def test_a_failure_is_an_error_with_its_exception(exported: Any) -> None:
    span = start_episode_span()
    assert span is not None
    span.end(failed="RuntimeError: on fire", error=RuntimeError("on fire"))
    (episode,) = exported()
    assert episode.status.status_code is api.StatusCode.ERROR
    assert episode.status.description == "RuntimeError: on fire"
    assert [event.name for event in episode.events] == ["exception"]


def test_without_an_sdk_the_ids_are_not_ours_and_are_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", PARENT)
    monkeypatch.setattr(api, "get_tracer", lambda *names, **more: api.NoOpTracer())
    span = start_episode_span()
    assert span is not None
    assert span.trace is None
    span.describe({"robotrace.episode.index": 1})
    span.end(failed="x", error=None)


def test_a_provider_that_fails_costs_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")

    def broken(*names: Any, **more: Any) -> Any:
        raise OSError("the collector is gone")

    monkeypatch.setattr(api, "get_tracer", broken)
    assert start_episode_span() is None
    assert start_episode_span() is None
    assert caplog.text.count("the collector is gone") == 1


def test_whether_it_is_installed_is_told_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracing_installed()
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    assert not tracing_installed()
