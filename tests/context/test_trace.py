"""The trace an episode belongs to, from OpenTelemetry or from the environment."""

import sys

import pytest

from robotrace.context.trace import current_trace

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OTHER = f"00-{'ab' * 16}-{'cd' * 8}-01"


@pytest.fixture
def api():
    return pytest.importorskip("opentelemetry.trace")


@pytest.fixture
def inside(api):
    """Makes a span with these values the current one; returns a context manager."""

    def make(trace_id=TRACE, span_id=SPAN, flags=1):
        context = api.SpanContext(
            int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=api.TraceFlags(flags)
        )
        return api.use_span(api.NonRecordingSpan(context))

    return make


def expected(flags, trace_id=TRACE, span_id=SPAN):
    return {"trace_id": trace_id, "span_id": span_id, "traceparent": f"00-{trace_id}-{span_id}-{flags}"}


# --- OpenTelemetry


@pytest.mark.parametrize(("flags", "text"), [(0, "00"), (1, "01"), (3, "03"), (255, "ff")])
def test_the_current_span_is_taken_sampled_or_not(inside, flags, text):
    with inside(flags=flags):
        assert current_trace() == expected(text)
    assert current_trace() is None


def test_small_ids_keep_their_zeros(inside):
    with inside(trace_id="1", span_id="2"):
        assert current_trace() == expected("01", "0" * 31 + "1", "0" * 15 + "2")


@pytest.mark.parametrize(("trace_id", "span_id"), [("0", SPAN), (TRACE, "0"), ("0", "0")])
def test_an_invalid_span_is_none(inside, trace_id, span_id):
    with inside(trace_id, span_id):
        assert current_trace() is None


def test_outside_any_span_there_is_no_trace(api):
    assert current_trace() is None


def test_the_span_wins_over_the_environment(inside, monkeypatch):
    monkeypatch.setenv("TRACEPARENT", OTHER)
    with inside():
        assert current_trace() == expected("01")
    assert current_trace()["traceparent"] == OTHER


def test_the_sdk_s_spans_are_taken_too(api):
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    sampling = pytest.importorskip("opentelemetry.sdk.trace.sampling")
    for sampler, flag in ((sampling.ALWAYS_ON, 1), (sampling.ALWAYS_OFF, 0)):
        tracer = sdk.TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("test")
        with tracer.start_as_current_span("step") as span:
            context = span.get_span_context()
            trace = current_trace()
        assert trace["trace_id"] == f"{context.trace_id:032x}"
        assert trace["span_id"] == f"{context.span_id:016x}"
        assert int(trace["traceparent"][-2:], 16) & 1 == flag


def test_an_api_that_breaks_costs_the_trace_and_nothing_else(monkeypatch):
    class Broken:
        @staticmethod
        def get_current_span():
            raise RuntimeError("half initialised")

    monkeypatch.setitem(sys.modules, "opentelemetry.trace", Broken)
    assert current_trace() is None
    monkeypatch.setenv("TRACEPARENT", OTHER)
    assert current_trace()["traceparent"] == OTHER


def test_opentelemetry_is_never_imported_for_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    assert current_trace() is None
    assert "opentelemetry.trace" not in sys.modules


# --- TRACEPARENT


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (f"00-{TRACE}-{SPAN}-00", "00"),
        (f"00-{TRACE}-{SPAN}-01", "01"),
        (f"00-{TRACE}-{SPAN}-03", "03"),
        (f"  00-{TRACE}-{SPAN}-01\n", "01"),
        (f"01-{TRACE}-{SPAN}-01", "01"),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", "01"),
    ],
)
def test_the_environment_is_read_without_opentelemetry(monkeypatch, value, flags):
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    monkeypatch.setenv("TRACEPARENT", value)
    assert current_trace() == expected(flags)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "garbage",
        "00",
        f"{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-011",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-0x",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'g' * 32}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n00-{TRACE}-{SPAN}-01",
        f"00-{'٣' * 32}-{SPAN}-01",
    ],
)
def test_a_traceparent_that_is_none_is_ignored(monkeypatch, value):
    monkeypatch.setenv("TRACEPARENT", value)
    assert current_trace() is None
