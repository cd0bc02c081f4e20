"""Opening episodes, logging them in one call, and the default client."""

import datetime
import io
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from wire_server import API_KEY, CREATE, EPISODE_ID, FINALIZE, SIGNATURE, Answer

import robotrace
from robotrace import Client
from robotrace.errors import APIError, ConfigurationError, ServerError, TransportError

VERSION = robotrace.__version__
JSON_HEADERS = {
    "authorization": f"Bearer {API_KEY}",
    "user-agent": f"robotrace-python/{VERSION}",
    "x-robotrace-sdk-version": VERSION,
    "accept": "application/json",
    "content-type": "application/json",
}


def headers_of(request):
    return {name.lower(): value for name, value in request.headers if name.lower() in JSON_HEADERS}


# --- create


def test_a_bare_episode_sends_source_and_all_three_slots(client, deployment):
    client.start_episode()
    (request,) = deployment.requests
    key = request.header("Idempotency-Key")
    assert (request.method, request.target) == ("POST", CREATE)
    assert headers_of(request) == JSON_HEADERS
    assert str(uuid.UUID(key)) == key
    assert request.json == {
        "source": "real",
        "request_uploads": ["video", "sensors", "actions"],
        "metadata": {"client_episode_id": key},
    }


def test_everything_that_is_given_is_sent_under_its_own_name(client, deployment):
    client.start_episode(
        name="pick 7",
        source="sim",
        robot="arm",
        policy_version="pi-3",
        env_version="CartPole-v1 gymnasium-1.0",
        git_sha="0" * 40,
        seed=7,
        fps=30,
        metadata={"task": "pick", "client_episode_id": "the caller's wins"},
        artifacts=["sensors", "sensors"],
    )
    (request,) = deployment.requests
    assert request.json == {
        "name": "pick 7",
        "source": "sim",
        "robot": "arm",
        "policy_version": "pi-3",
        "env_version": "CartPole-v1 gymnasium-1.0",
        "git_sha": "0" * 40,
        "seed": 7,
        "fps": 30.0,
        "metadata": {"task": "pick", "client_episode_id": "the caller's wins"},
        "request_uploads": ["sensors"],
    }


def test_the_trace_of_the_process_goes_with_create(client, deployment, monkeypatch):
    monkeypatch.setenv("TRACEPARENT", f"00-{'ab' * 16}-{'cd' * 8}-00")
    client.start_episode(artifacts=())
    assert deployment.requests[0].json["otel"] == {
        "trace_id": "ab" * 16,
        "span_id": "cd" * 8,
        "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-00",
    }


def test_every_episode_has_an_idempotency_key_of_its_own(client, deployment):
    client.start_episode(artifacts=())
    client.start_episode(artifacts=())
    keys = [request.header("Idempotency-Key") for request in deployment.requests]
    assert len(set(keys)) == 2


def test_the_episode_is_what_the_deployment_answered(client, deployment):
    episode = client.start_episode(artifacts=["video"])
    assert (episode.id, episode.status, episode.storage) == (EPISODE_ID, "recording", "r2")
    assert episode.upload_urls == {
        "video": robotrace.UploadUrl(
            "video", f"{deployment.url}/store/video?X-Signature={SIGNATURE}", "2031-01-01T00:00:00Z", None
        )
    }


def test_unknown_fields_in_the_answer_are_ignored(client, deployment):
    url = {"kind": "video", "url": "http://x/", "expires_at": "later", "headers": {}}
    answer = {"episode_id": 7, "status": "recording", "storage": "r2", "upload_urls": [url], "region": "eu"}
    deployment.on("POST", CREATE, Answer(201, answer))
    episode = client.start_episode()
    assert episode.id == "7"
    assert episode.upload_urls["video"].public_url is None


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({}, "has no episode_id"),
        ({"episode_id": None}, "has no episode_id"),
        ({"episode_id": ""}, "has no episode_id"),
        ({"id": "1", "upload_urls": []}, "has no episode_id"),
        ({"episode_id": "1", "upload_urls": [{"kind": "video"}]}, "has upload_urls without a URL"),
        ({"episode_id": "1", "upload_urls": [5]}, "has upload_urls without a URL"),
        ({"episode_id": "1", "upload_urls": {"video": "http://x"}}, "has upload_urls without a URL"),
    ],
)
def test_an_answer_to_create_that_lacks_something_is_an_api_error_and_says_what(client, deployment, answer, text):
    deployment.on("POST", CREATE, Answer(201, answer))
    with pytest.raises(APIError, match=f"the answer to create {text}") as caught:
        client.start_episode()
    assert caught.value.response_body == answer


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"source": "dream"}, "source is 'dream'; it takes real, sim, replay"),
        ({"artifacts": ["lidar"]}, "artifacts is 'lidar'; it takes video, sensors, actions"),
        ({"seed": 1.5}, "seed must be an integer, got 1.5"),
        ({"seed": "7"}, "seed must be an integer"),
        ({"seed": True}, "seed must be an integer, got True"),
        ({"seed": 2**63}, f"seed must fit into 64 bits, got {2**63}"),
        ({"seed": 2**64}, "seed must fit into 64 bits"),
        ({"seed": -(2**63) - 1}, "seed must fit into 64 bits"),
        ({"seed": 2**4000}, "seed must fit into 64 bits"),
        ({"fps": "fast"}, "fps must be a number"),
        ({"fps": True}, "fps must be a number"),
        ({"fps": float("nan")}, "fps must be a finite number above 0"),
        ({"fps": float("inf")}, "fps must be a finite number above 0"),
        ({"fps": 0}, "fps must be a finite number above 0, got 0"),
        ({"fps": -30.0}, "fps must be a finite number above 0"),
        ({"fps": 10**400}, "fps must be a finite number above 0"),
        ({"name": "x" * 201}, "name may have 200 characters, this one has 201"),
        ({"robot": "x" * 121}, "robot may have 120 characters, this one has 121"),
        ({"name": 7}, "name must be text, got 7"),
        ({"policy_version": 3}, "policy_version must be text, got 3"),
        ({"env_version": b"v0"}, "env_version must be text"),
        ({"git_sha": Path("abc")}, "git_sha must be text"),
        ({"metadata": [("a", 1)]}, "metadata must be a mapping, got list"),
        ({"metadata": ""}, "metadata must be a mapping, got str"),
    ],
)
def test_an_argument_that_does_not_fit_is_found_before_any_request(client, deployment, arguments, text):
    with pytest.raises(ConfigurationError, match=text):
        client.start_episode(**arguments)
    assert deployment.requests == []


@pytest.mark.parametrize("seed", [0, -(2**63), 2**63 - 1])
def test_a_seed_of_64_bits_is_sent_to_the_last_digit(client, deployment, seed):
    client.start_episode(seed=seed)
    assert deployment.requests[0].json["seed"] == seed


@pytest.mark.parametrize(("argument", "longest"), [("name", 200), ("robot", 120)])
def test_text_of_the_greatest_length_is_sent_whole(client, deployment, argument, longest):
    client.start_episode(**{argument: "ü" * longest})
    assert deployment.requests[0].json[argument] == "ü" * longest


def test_a_truth_value_of_numpy_is_no_number(client, deployment):
    np = pytest.importorskip("numpy")
    for argument in ("seed", "fps"):
        with pytest.raises(ConfigurationError, match=f"{argument} must be an? "):
            client.start_episode(**{argument: np.bool_(True)})
    assert deployment.requests == []


def test_numpy_paths_dates_and_sets_in_the_metadata_open_and_close_a_row(client, deployment):
    np = pytest.importorskip("numpy")
    metadata = {
        "image": np.zeros((2, 2), np.uint8),
        "loss": np.float64("nan"),
        "log": Path("a") / "b",
        "started": datetime.datetime(2030, 1, 2, 3, 4, 5),
        "tags": {"b", "a"},
    }
    client.log_episode(metadata=metadata, seed=np.int64(2**62))
    create, finalize = (request.json["metadata"] for request in deployment.requests)
    expected = {
        "image": [[0, 0], [0, 0]],
        "loss": None,
        "log": str(Path("a/b")),
        "started": "2030-01-02T03:04:05",
        "tags": ["a", "b"],
        "robotrace": {"sanitized": ["loss"]},
    }
    assert finalize == expected
    assert {**create, "client_episode_id": None} == {**expected, "client_episode_id": None}
    assert deployment.requests[0].json["seed"] == 2**62


def test_numpy_numbers_are_numbers(client, deployment):
    np = pytest.importorskip("numpy")
    client.log_episode(seed=np.int64(7), fps=np.float32(30), duration_s=np.float32(1.5), metadata={"r": np.float32(2)})
    create, finalize = (request.json for request in deployment.requests)
    assert (create["seed"], create["fps"]) == (7, 30.0)
    assert create["metadata"]["r"] == 2.0
    assert finalize == {"status": "ready", "duration_s": 1.5, "fps": 30.0, "metadata": {"r": 2.0}}


def test_metadata_that_is_no_json_goes_out_sanitized(client, deployment):
    client.start_episode(artifacts=(), metadata={"loss": float("nan"), "tags": {"b", "a"}})
    metadata = deployment.requests[0].json["metadata"]
    assert metadata["loss"] is None
    assert metadata["tags"] == ["a", "b"]
    assert metadata["robotrace"] == {"sanitized": ["loss"]}


def test_a_rate_limited_create_repeats_itself_with_the_same_key(client, deployment):
    limited = Answer(429, {"error": "slow down"})
    deployment.on("POST", CREATE, limited, limited, Answer(201, {"episode_id": "1", "upload_urls": []}))
    client.start_episode()
    first, *others = deployment.requests
    assert len(others) == 2
    assert all(other.body == first.body for other in others)
    assert {other.header("Idempotency-Key") for other in others} == {first.header("Idempotency-Key")}
    assert client.slept == [1.0, 2.0]


# --- log_episode


def test_log_episode_sends_create_the_files_and_finalize(client, deployment, files):
    episode = client.log_episode(
        name="pick 7", source="replay", **files, duration_s=1.5, fps=30, metadata={"task": "pick"}
    )
    create, *puts, finalize = deployment.requests
    assert create.json["request_uploads"] == ["video", "sensors", "actions"]
    assert [put.path for put in puts] == ["/store/video", "/store/sensors", "/store/actions"]
    assert [put.body for put in puts] == [b"bytes of video", b"bytes of sensors", b"bytes of actions"]
    assert (finalize.method, finalize.target) == ("POST", FINALIZE)
    assert headers_of(finalize) == JSON_HEADERS
    assert finalize.header("Idempotency-Key") is None
    assert finalize.json == {
        "status": "ready",
        "duration_s": 1.5,
        "fps": 30.0,
        "bytes_total": sum(put.size for put in puts),
        "metadata": {"task": "pick"},
    }
    assert episode.status == "ready"


def test_only_the_slots_given_are_requested(client, deployment, files):
    client.log_episode(actions=str(files["actions"]))
    assert [request.path for request in deployment.requests] == [CREATE, "/store/actions", FINALIZE]
    assert deployment.requests[0].json["request_uploads"] == ["actions"]


def test_an_episode_of_metadata_only_requests_no_slot(client, deployment):
    client.log_episode(metadata={"a": 1}, status="failed", failure_time_s=0.5)
    create, finalize = (request.json for request in deployment.requests)
    assert create["request_uploads"] == []
    assert finalize == {"status": "failed", "failure_time_s": 0.5, "metadata": {"a": 1}}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"video": "missing.mp4"}, "video: there is no file missing.mp4"),
        ({"sensors": "."}, "sensors: there is no file"),
        ({"status": "recording"}, "status is 'recording'; it takes ready, failed"),
        ({"failure_time_s": 1.0}, "failure_time_s goes with status='failed' only"),
        ({"duration_s": float("inf")}, "duration_s must be a finite number"),
        ({"duration_s": "long"}, "duration_s must be a number"),
        ({"duration_s": -0.5}, "duration_s must be a finite number, 0 or more, got -0.5"),
        ({"duration_s": True}, "duration_s must be a number"),
        ({"status": "failed", "failure_time_s": float("nan")}, "failure_time_s must be a finite number"),
        ({"metadata": 7}, "metadata must be a mapping, got int"),
        ({"sensors": "a\0.npz"}, "sensors: there is no file"),
        ({"name": "x" * 201}, "name may have 200 characters"),
        ({"seed": 2**64}, "seed must fit into 64 bits"),
        ({"fps": 0}, "fps must be a finite number above 0"),
    ],
)
def test_log_episode_finds_what_does_not_fit_before_a_row_is_open(client, deployment, arguments, text):
    with pytest.raises(ConfigurationError, match=text):
        client.log_episode(**arguments)
    assert deployment.requests == []


def test_one_missing_file_of_three_opens_nothing(client, deployment, files):
    files["actions"].unlink()
    with pytest.raises(ConfigurationError, match="actions"):
        client.log_episode(**files)
    assert deployment.requests == []


def test_a_file_that_may_not_be_read_opens_nothing(client, deployment, files, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != files["actions"])  # root may read everything
    with pytest.raises(ConfigurationError, match=r"actions: .*actions\.npz may not be read"):
        client.log_episode(**files)
    assert deployment.requests == []


def test_a_failing_upload_finalizes_as_failed_and_goes_on(client, deployment, files):
    deployment.on("PUT", "/store/sensors", Answer(403, b"<Error>SignatureDoesNotMatch</Error>"))
    with pytest.raises(APIError, match="HTTP 403") as caught:
        client.log_episode(**files, duration_s=2.0, status="failed", failure_time_s=1.0, metadata={"task": "pick"})
    assert caught.value.status_code == 403
    assert [request.path for request in deployment.requests] == [CREATE, "/store/video", "/store/sensors", FINALIZE]
    assert deployment.requests[-1].json == {
        "status": "failed",
        "duration_s": 2.0,
        "failure_time_s": 1.0,
        "bytes_total": len(b"bytes of video"),
        "metadata": {"task": "pick", "failure_reason": "upload error: HTTP 403"},
    }


def test_a_failing_finalize_after_a_failing_upload_does_not_hide_it(client, deployment, files, caplog):
    deployment.on("PUT", "/store/video", Answer(500, {"error": "the disk is full"}))
    deployment.on("POST", FINALIZE, Answer(404, {"error": "no such episode"}))
    with pytest.raises(ServerError, match="the disk is full") as caught:
        client.log_episode(video=files["video"])
    text = f"episode {EPISODE_ID} could not be finalized as failed: no such episode"
    assert text in caplog.text
    if sys.version_info >= (3, 11):
        assert caught.value.__notes__ == [f"robotrace: {text}"]


# --- interrupted


def interrupting(kind, answer):
    """An answer during which the main thread, which waits for it, gets a signal."""

    def interrupt(_request):
        signal.pthread_kill(threading.main_thread().ident, kind)
        return answer

    return interrupt


@pytest.fixture
def exit_on_sigusr1():
    """What a job scheduler's notice does in many training scripts."""
    before = signal.signal(signal.SIGUSR1, lambda *_: sys.exit(3))
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    ("kind", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGUSR1, SystemExit)], ids=["ctrl-c", "exit"]
)
@pytest.mark.usefixtures("exit_on_sigusr1")
def test_an_interrupted_upload_finalizes_as_failed_and_the_interrupt_goes_on(client, deployment, files, kind, error):
    deployment.on("PUT", "/store/sensors", interrupting(kind, Answer(200)))
    with pytest.raises(error):
        client.log_episode(**files, metadata={"task": "pick"})
    assert [request.path for request in deployment.requests] == [CREATE, "/store/video", "/store/sensors", FINALIZE]
    assert deployment.requests[-1].json == {
        "status": "failed",
        "bytes_total": len(b"bytes of video"),
        "metadata": {"task": "pick", "failure_reason": f"upload interrupted: {error.__name__}"},
    }


def test_a_second_interrupt_wins(client, deployment, files):
    deployment.on("PUT", "/store/video", interrupting(signal.SIGINT, Answer(200)))
    deployment.on("POST", FINALIZE, interrupting(signal.SIGINT, Answer(200)))
    with pytest.raises(KeyboardInterrupt) as caught:
        client.log_episode(**files)
    assert isinstance(caught.value.__context__, KeyboardInterrupt)
    assert [request.path for request in deployment.requests] == [CREATE, "/store/video", FINALIZE]


def test_an_interrupted_finalize_is_repeated_so_that_the_row_is_closed(client, deployment, files):
    done = Answer(200, {"status": "ready"})
    deployment.on("POST", FINALIZE, interrupting(signal.SIGINT, done), done)
    with pytest.raises(KeyboardInterrupt):
        client.log_episode(video=files["video"], status="failed", failure_time_s=1.0)
    first, second = deployment.received("POST", FINALIZE)
    assert first.json == second.json == {"status": "failed", "failure_time_s": 1.0, "bytes_total": 14}


def test_a_failing_finalize_does_not_hide_the_interrupt(client, deployment, files, caplog):
    deployment.on("PUT", "/store/video", interrupting(signal.SIGINT, Answer(200)))
    deployment.on("POST", FINALIZE, Answer(503, {"error": "soon"}))
    with pytest.raises(KeyboardInterrupt):
        client.log_episode(video=files["video"])
    assert f"episode {EPISODE_ID} could not be finalized as failed: soon" in caplog.text


def test_uploads_to_a_deployment_without_storage_fail_without_a_request(client, deployment, files):
    answer = {"episode_id": EPISODE_ID, "status": "recording", "storage": "unconfigured", "upload_urls": []}
    deployment.on("POST", CREATE, Answer(201, answer))
    with pytest.raises(ConfigurationError, match="no storage configured"):
        client.log_episode(sensors=files["sensors"])
    assert [request.path for request in deployment.requests] == [CREATE, FINALIZE]
    reason = deployment.requests[-1].json["metadata"]["failure_reason"]
    assert reason.startswith("upload error: this deployment has no storage configured")


def test_metadata_only_works_on_a_deployment_without_storage(client, deployment):
    answer = {"episode_id": EPISODE_ID, "status": "recording", "storage": "unconfigured", "upload_urls": None}
    deployment.on("POST", CREATE, Answer(201, answer))
    assert client.log_episode(metadata={"a": 1}).status == "ready"


# --- the portal URL on stdout


def announced(capsys, monkeypatch, client, *, tty):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty, raising=False)
    client.start_episode(artifacts=())
    return capsys.readouterr().out


def test_a_terminal_gets_one_portal_url(client, deployment, capsys, monkeypatch):
    expected = f"robotrace: {deployment.url}/portal/episodes/{EPISODE_ID}\n"
    assert announced(capsys, monkeypatch, client, tty=True) == expected


def test_a_pipe_gets_no_portal_url(client, capsys, monkeypatch):
    assert announced(capsys, monkeypatch, client, tty=False) == ""


@pytest.mark.parametrize("value", ["1", "true", "YES"])
def test_quiet_keeps_a_terminal_clean(client, capsys, monkeypatch, value):
    monkeypatch.setenv("ROBOTRACE_QUIET", value)
    assert announced(capsys, monkeypatch, client, tty=True) == ""


def test_quiet_switched_off_is_not_quiet(client, capsys, monkeypatch):
    monkeypatch.setenv("ROBOTRACE_QUIET", "0")
    assert announced(capsys, monkeypatch, client, tty=True) != ""


@pytest.mark.parametrize("verbose", [True, False])
def test_verbose_overrules_terminal_and_environment(deployment, capsys, monkeypatch, verbose):
    monkeypatch.setenv("ROBOTRACE_QUIET", "1" if verbose else "0")
    with Client(base_url=deployment.url, api_key=API_KEY, verbose=verbose) as client:
        out = announced(capsys, monkeypatch, client, tty=not verbose)
    assert bool(out) is verbose


def test_a_process_without_stdout_logs_all_the_same(client, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert client.start_episode(artifacts=()).id == EPISODE_ID


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O operation on closed file")])
def test_a_terminal_that_went_away_does_not_cost_the_episode(deployment, monkeypatch, error):
    class Gone(io.StringIO):
        def write(self, text):
            raise error

    monkeypatch.setattr(sys, "stdout", Gone())
    with Client(base_url=deployment.url, api_key=API_KEY, verbose=True) as client:
        assert client.log_episode().status == "ready"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_real_terminal_gets_the_url():
    script = """
import httpx, robotrace
answer = {"episode_id": "7", "status": "recording", "storage": "r2", "upload_urls": []}
transport = httpx.MockTransport(lambda request: httpx.Response(201, json=answer))
with robotrace.Client(base_url="http://deployment.invalid", api_key="k", transport=transport) as client:
    client.start_episode()
"""
    terminal, child_side = os.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", script],
            stdout=child_side,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            timeout=60,
        )
        assert os.read(terminal, 1000) == b"robotrace: http://deployment.invalid/portal/episodes/7\r\n"
    finally:
        os.close(terminal)
        os.close(child_side)


# --- the client itself


def test_the_base_url_has_no_trailing_slash(deployment):
    with Client(base_url=f"{deployment.url}/", api_key=API_KEY) as client:
        assert client.base_url == deployment.url
        client.start_episode(artifacts=())
    assert deployment.requests[0].target == CREATE


def test_a_deployment_may_live_below_a_path(server):
    server.on("POST", f"/trace{CREATE}", Answer(201, {"episode_id": "1", "upload_urls": []}))
    with Client(base_url=f"{server.url}/trace/", api_key=API_KEY) as client:
        assert client.start_episode().id == "1"


def test_the_key_is_in_no_repr(client):
    episode = client.start_episode()
    text = repr(client) + repr(episode) + str(episode.upload_urls) + repr(client._transport)
    assert API_KEY not in text
    assert SIGNATURE not in text


def test_leaving_the_client_closes_its_connections(deployment):
    with Client(base_url=deployment.url, api_key=API_KEY) as client:
        client.start_episode(artifacts=())
    with pytest.raises(RuntimeError, match="closed"):
        client.start_episode(artifacts=())


def mocked(handler, **options):
    return Client(
        base_url="http://deployment.invalid", api_key=API_KEY, transport=httpx.MockTransport(handler), **options
    )


def test_a_mock_transport_serves_json_and_uploads(files):
    seen = []

    def handler(request):
        seen.append((request.method, str(request.url), request.extensions["timeout"]))
        url = {"kind": "sensors", "url": "https://store.invalid/x?sig=1", "expires_at": "later", "public_url": None}
        return httpx.Response(200, json={"episode_id": "7", "storage": "r2", "upload_urls": [url]})

    with mocked(handler) as client:
        client.log_episode(sensors=files["sensors"])
    json_timeout = {"connect": 10.0, "read": 30.0, "write": 30.0, "pool": 10.0}
    put_timeout = {"connect": 15.0, "read": 600.0, "write": 600.0, "pool": 15.0}
    assert seen == [
        ("POST", f"http://deployment.invalid{CREATE}", json_timeout),
        ("PUT", "https://store.invalid/x?sig=1", put_timeout),
        ("POST", "http://deployment.invalid/api/ingest/episode/7/finalize", json_timeout),
    ]


def test_a_timeout_of_ones_own_overrules_the_default():
    seen = []

    def handler(request):
        seen.append(request.extensions["timeout"])
        return httpx.Response(201, json={"episode_id": "7"})

    with mocked(handler, timeout=3.0) as client:
        client.start_episode()
    assert seen == [{"connect": 3.0, "read": 3.0, "write": 3.0, "pool": 3.0}]


# --- the default client


def test_the_default_client_reads_the_environment(deployment, monkeypatch):
    monkeypatch.setenv("ROBOTRACE_API_KEY", API_KEY)
    monkeypatch.setenv("ROBOTRACE_BASE_URL", deployment.url)
    episode = robotrace.start_episode(name="a", artifacts=["sensors"])
    episode.finalize()
    robotrace.log_episode(name="b", metadata={"x": 1})
    names = [request.json.get("name") for request in deployment.received("POST", CREATE)]
    assert names == ["a", "b"]
    assert deployment.requests[0].header("Authorization") == f"Bearer {API_KEY}"


def test_init_configures_the_default_client_and_close_keeps_the_settings(deployment):
    robotrace.init(api_key=API_KEY, base_url=deployment.url, timeout=5.0)
    robotrace.log_episode()
    robotrace.close()
    robotrace.close()
    robotrace.log_episode()
    assert len(deployment.received("POST", CREATE)) == 2


def test_init_without_anything_configured_says_what_is_missing():
    with pytest.raises(ConfigurationError, match="no API key and no base URL"):
        robotrace.init()


def test_an_init_that_fails_leaves_the_client_that_was_there(deployment):
    robotrace.init(api_key=API_KEY, base_url=deployment.url)
    with pytest.raises(ConfigurationError, match="must begin with http"):
        robotrace.init(api_key=API_KEY, base_url="gopher://elsewhere")
    robotrace.log_episode()
    assert len(deployment.received("POST", CREATE)) == 1


def test_two_threads_that_are_first_at_once_get_the_same_default_client(deployment, monkeypatch):
    monkeypatch.setenv("ROBOTRACE_API_KEY", API_KEY)
    monkeypatch.setenv("ROBOTRACE_BASE_URL", deployment.url)
    both = threading.Barrier(2)
    made = []

    class Slow(Client):
        def __init__(self, **options):
            super().__init__(**options)
            made.append(self)
            both.wait(30)  # neither is the default one before both are made

    monkeypatch.setattr("robotrace.client.Client", Slow)
    with ThreadPoolExecutor(2) as pool:
        episodes = list(pool.map(lambda _: robotrace.start_episode(artifacts=()), range(2)))
    used = {id(episode._client) for episode in episodes}
    assert len(made) == 2
    assert len(used) == 1
    (lost,) = (client for client in made if id(client) not in used)
    with pytest.raises(RuntimeError, match="closed"):
        lost.start_episode()


def test_one_client_serves_many_threads(client, deployment, tmp_path):
    def log(number):
        path = tmp_path / f"{number}.npz"
        path.write_bytes(str(number).encode() * 1000)
        return client.log_episode(name=str(number), sensors=path).status

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(log, range(32))) == ["ready"] * 32
    bodies = {request.body for request in deployment.received("PUT", "/store/sensors")}
    assert bodies == {str(number).encode() * 1000 for number in range(32)}


def test_a_forked_child_makes_a_default_client_of_its_own(deployment):
    script = f"""
import os, robotrace
robotrace.init(api_key={API_KEY!r}, base_url={deployment.url!r})
robotrace.start_episode(name="parent", artifacts=())
pid = os.fork()
if not pid:
    robotrace.start_episode(name="child", artifacts=())
    robotrace.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
robotrace.start_episode(name="parent again", artifacts=())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=60)
    ports = {request.json["name"]: request.port for request in deployment.requests}
    assert list(ports) == ["parent", "child", "parent again"]
    assert ports["parent"] == ports["parent again"] != ports["child"]


def test_the_default_client_and_an_own_one_send_the_same(deployment, client, files):
    robotrace.init(api_key=API_KEY, base_url=deployment.url)
    arguments = {"name": "n", "source": "sim", "seed": 3, "sensors": files["sensors"], "metadata": {"a": [1]}}
    robotrace.log_episode(**arguments)
    client.log_episode(**arguments)
    bodies = [json.loads(request.body) for request in deployment.requests if request.method == "POST"]
    for body in bodies:
        body["metadata"].pop("client_episode_id", None)
    assert bodies[:2] == bodies[2:]


def test_an_unreachable_deployment_is_a_transport_error():
    with Client(base_url="http://127.0.0.1:1", api_key=API_KEY) as client:
        with pytest.raises(TransportError, match=r"127\.0\.0\.1:1 could not be reached"):
            client.start_episode()
