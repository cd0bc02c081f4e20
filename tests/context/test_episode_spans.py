"""Traces and spans of recorded episodes, with a real SDK that exports into memory."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

api = pytest.importorskip("opentelemetry.trace")
sdk = pytest.importorskip("opentelemetry.sdk.trace")
np = pytest.importorskip("numpy")
pytest.importorskip("gymnasium")
pytest.importorskip("av")

from gymnasium_envs import LoggingEnv  # noqa: E402
from opentelemetry import context as otel_context  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF  # noqa: E402
from recorded import sealed  # noqa: E402

import robotrace  # noqa: E402
from robotrace import session  # noqa: E402

PARENT = f"00-{'ab' * 16}-{'cd' * 8}-03"


@pytest.fixture(autouse=True)
def fresh_process() -> Iterator[None]:
    session.reset()
    yield
    session.reset()


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made = sdk.TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(api, "get_tracer", lambda *names, **more: made.get_tracer(*names))
    yield made
    made.shutdown()


@pytest.fixture
def exported(provider: Any) -> Any:
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return lambda: [span for span in exporter.get_finished_spans() if span.name == "robotrace.episode"]


def new_env(**options: Any) -> Any:
    env = LoggingEnv(length=3, ends="terminated")
    return robotrace.attach(env, **{"otel_spans": True, "max_per_minute": None, **options})


def rollout(env: Any, seed: int | None = None) -> None:
    env.reset(seed=seed)
    while not step(env):
        pass


def step(env: Any) -> bool:
    return any(env.step(np.zeros(2))[2:4])


def traces() -> list[Any]:
    assert robotrace.flush()
    return [episode.create.get("otel") for episode in sealed()]


def test_t57_the_flags_are_those_of_the_span_whatever_bits_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", PARENT)
    env = new_env(otel_spans=False)
    rollout(env)
    context = api.SpanContext(int("12" * 16, 16), int("34" * 8, 16), is_remote=False, trace_flags=api.TraceFlags(3))
    with api.use_span(api.NonRecordingSpan(context)):
        rollout(env)
    assert [trace["traceparent"] for trace in traces()] == [PARENT, f"00-{'12' * 16}-{'34' * 8}-03"]


@pytest.mark.parametrize("value", ["garbage", "", f"00-{'0' * 32}-{'cd' * 8}-01", f"ff-{'ab' * 16}-{'cd' * 8}-01"])
def test_t57_a_traceparent_that_is_none_is_no_trace_and_no_parent(
    exported: Any, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("TRACEPARENT", value)
    rollout(new_env(otel_spans=False))
    rollout(new_env())
    (span,) = exported()
    assert span.parent is None
    without, own = traces()
    assert without is None
    assert own["span_id"] == f"{span.context.span_id:016x}"


def test_t57_without_an_sdk_the_span_is_the_parents_and_not_the_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "get_tracer", lambda *names, **more: api.NoOpTracer())
    env = new_env()
    rollout(env)
    monkeypatch.setenv("TRACEPARENT", PARENT)
    rollout(env)
    assert traces() == [None, {"trace_id": "ab" * 16, "span_id": "cd" * 8, "traceparent": PARENT}]


def test_t57_a_span_that_is_not_sampled_is_not_the_episodes_own(monkeypatch: pytest.MonkeyPatch) -> None:
    unsampled = sdk.TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    monkeypatch.setattr(api, "get_tracer", lambda *names, **more: unsampled.get_tracer(*names))
    with api.get_tracer("user").start_as_current_span("training") as training:
        rollout(new_env())
    (trace,) = traces()
    context = training.get_span_context()
    assert trace["span_id"] == f"{context.span_id:016x}"
    assert int(trace["traceparent"][-2:], 16) & 1 == 0


def test_t57_nothing_is_imported_where_the_application_imports_nothing(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        textwrap.dedent(
            """
            import sys
            import robotrace
            from gymnasium_envs import LoggingEnv

            env = robotrace.attach(LoggingEnv(length=3, ends="terminated"))
            with robotrace.run(policy_version="v1"):
                env.reset()
                while not any(env.step(env.action_space.sample())[2:4]):
                    pass
            robotrace.flush()
            assert not [name for name in sys.modules if name.startswith("opentelemetry")]
            """
        )
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TRACEPARENT": PARENT,
        "ROBOTRACE_MODE": "offline",
    }
    command = [sys.executable, "-W", "error", str(tmp_path / "train.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [trace["traceparent"] for trace in traces()] == [PARENT]


def test_t58_spans_of_the_user_across_steps_keep_their_order(exported: Any) -> None:
    env, tracer = new_env(), api.get_tracer("user")
    before = otel_context.get_current()
    with tracer.start_as_current_span("outer") as outer_span:
        env.reset()
        assert api.get_current_span() is outer_span
        with tracer.start_as_current_span("across") as across_span:
            step(env)
            assert api.get_current_span() is across_span
        assert api.get_current_span() is outer_span
        step(env)
    assert otel_context.get_current() == before
    assert step(env)
    assert otel_context.get_current() == before
    (span,) = exported()
    assert span.parent.span_id == outer_span.get_span_context().span_id


def test_t58_an_episode_is_below_the_span_of_its_reset_in_the_thread_of_its_reset(exported: Any) -> None:
    tracer = api.get_tracer("user")
    parents: dict[int, int] = {}
    both = threading.Barrier(2, timeout=30)

    def train(number: int) -> None:
        env = new_env(name=str(number))
        with tracer.start_as_current_span(str(number)) as span:
            parents[number] = span.get_span_context().span_id
            both.wait()
            env.reset()
        while not step(env):
            both.wait()
        assert not api.get_current_span().get_span_context().is_valid

    threads = [threading.Thread(target=train, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {span.parent.span_id for span in exported()} == set(parents.values())
    assert {trace["trace_id"] for trace in traces()} == {f"{span.context.trace_id:032x}" for span in exported()}


def test_a_span_says_what_its_episode_is_and_came_to(exported: Any) -> None:
    with robotrace.run(policy_version="v1", git_sha="a" * 40) as run:
        rollout(new_env())
    (span,) = exported()
    assert robotrace.flush()
    (episode,) = sealed()
    assert dict(span.attributes) == {
        "robotrace.episode.id": episode.manifest["uuid"],
        "robotrace.episode.index": 0,
        "robotrace.episode.length": 3,
        "robotrace.episode.return": episode.metadata["outcome"]["reward_total"],
        "robotrace.episode.outcome": "failure",
        "robotrace.env.id": episode.metadata["env"]["id"],
        "robotrace.policy.version": "v1",
        "robotrace.run.id": run.id,
        "vcs.ref.head.revision": "a" * 40,
    }
    assert span.end_time > span.start_time


def test_a_failure_is_an_error_and_its_exception_an_event(exported: Any) -> None:
    env = robotrace.attach(LoggingEnv(raises_at=1), otel_spans=True)
    with pytest.raises(RuntimeError):
        rollout(env)
    (span,) = exported()
    assert span.status.status_code is api.StatusCode.ERROR
    (event,) = span.events
    assert (event.name, event.attributes["exception.type"]) == ("exception", "RuntimeError")


def test_the_span_of_the_run_is_linked_where_it_is_not_the_parent(exported: Any) -> None:
    tracer, env = api.get_tracer("user"), new_env()
    with tracer.start_as_current_span("sweep") as sweep:
        run = robotrace.run(policy_version="v1")
        rollout(env)
    with tracer.start_as_current_span("training"):
        rollout(env)
    run.end()
    rollout(env)
    below, beside, after = exported()
    assert (below.links, after.links) == ((), ())
    (link,) = beside.links
    assert link.context.span_id == sweep.get_span_context().span_id
    assert link.context.trace_id == sweep.get_span_context().trace_id


def test_the_parent_from_the_environment_brings_its_state(exported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", PARENT)
    monkeypatch.setenv("TRACESTATE", "vendor=1,other=2")
    env = new_env()
    rollout(env)
    monkeypatch.setenv("TRACESTATE", "gar bage")
    rollout(env)
    one, other = exported()
    assert dict(one.context.trace_state) == {"vendor": "1", "other": "2"}
    assert dict(other.context.trace_state) == {}
    assert {span.parent.span_id for span in (one, other)} == {int("cd" * 8, 16)}


def test_an_episode_that_is_not_kept_has_no_span(exported: Any) -> None:
    rollout(new_env(only="successes"))
    assert exported() == []
