"""Uploads, finalize and the context manager of an episode."""

import logging
import os
import subprocess
import sys
import threading
import warnings

import httpx
import pytest
from polling import eventually
from wire_server import API_KEY, CREATE, EPISODE_ID, FINALIZE, SIGNATURE, Answer

from robotrace import Client
from robotrace.episode import Episode, checked_artifact
from robotrace.errors import (
    APIError,
    ConfigurationError,
    ConflictError,
    RateLimitError,
    ServerError,
    TransportError,
)

VIDEO = (".mp4", ".webm", ".mov", ".m4v", ".mkv")
ARRAYS = (".npz", ".npy", ".h5", ".hdf5", ".bin", ".parquet", ".arrow", ".feather", ".mcap", ".csv")


@pytest.fixture
def episode(client, deployment):
    """An open episode; the request that opened it is not in ``deployment.requests``."""
    opened = client.start_episode()
    deployment.requests.clear()
    return opened


# --- upload


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [("video", "video/mp4"), ("sensors", "application/octet-stream"), ("actions", "application/octet-stream")],
)
def test_upload_puts_the_bytes_under_the_signed_url(episode, deployment, files, kind, content_type):
    size = episode.upload(kind, files[kind])
    (put,) = deployment.requests
    assert (put.method, put.target) == ("PUT", f"/store/{kind}?X-Signature={SIGNATURE}")
    assert put.body == f"bytes of {kind}".encode()
    assert size == put.size == files[kind].stat().st_size
    assert put.header("Content-Type") == content_type
    assert put.header("Content-Length") == str(size)
    assert put.header_names == {"host", "content-type", "content-length", "user-agent"}


def test_an_upload_that_is_rate_limited_sends_the_whole_file_again(client, episode, deployment, files):
    limited = Answer(429, {"error": "slow down"}, {"Retry-After": "7"})
    deployment.on("PUT", "/store/sensors", limited, limited, limited, Answer(200))
    episode.upload("sensors", files["sensors"])
    assert [put.body for put in deployment.requests] == [b"bytes of sensors"] * 4
    assert client.slept == [7.0, 7.0, 7.0]


def test_a_redirect_of_an_upload_is_a_failure(episode, deployment, files):
    deployment.on("PUT", "/store/video", Answer(301, b"", {"Location": f"{deployment.url}/elsewhere"}))
    deployment.on("PUT", "/elsewhere", Answer(200))
    with pytest.raises(APIError, match="HTTP 301") as caught:
        episode.upload("video", files["video"])
    assert caught.value.status_code == 301
    assert len(deployment.requests) == 1


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("video", suffix) for suffix in VIDEO] + [(kind, suffix) for kind in ("sensors", "actions") for suffix in ARRAYS],
)
def test_every_extension_of_the_contract_is_taken(tmp_path, kind, suffix):
    path = tmp_path / f"file{suffix.upper()}"
    path.touch()
    assert checked_artifact(kind, str(path)) == path


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("video", "a.npz"),
        ("sensors", "a.mp4"),
        ("actions", "a.mkv"),
        ("sensors", "a.zip"),
        ("video", "a"),
        ("actions", ".npz"),
    ],
)
def test_another_extension_is_refused_before_any_request(episode, deployment, tmp_path, kind, name):
    (tmp_path / name).touch()
    with pytest.raises(ConfigurationError, match="extension"):
        episode.upload(kind, tmp_path / name)
    assert deployment.requests == []


def test_a_missing_file_is_refused_before_any_request(episode, deployment, tmp_path):
    with pytest.raises(ConfigurationError, match=r"there is no file .*gone\.npz"):
        episode.upload("sensors", tmp_path / "gone.npz")
    assert deployment.requests == []


def test_an_unknown_kind_is_refused_before_any_request(episode, deployment, files):
    with pytest.raises(ConfigurationError, match="kind is 'lidar'"):
        episode.upload("lidar", files["sensors"])
    assert deployment.requests == []


def test_a_slot_that_was_not_requested_is_refused_before_any_request(client, deployment, files):
    episode = client.start_episode(artifacts=["video"])
    with pytest.raises(ConfigurationError, match="slot 'sensors' was not requested"):
        episode.upload("sensors", files["sensors"])
    assert [request.path for request in deployment.requests] == [CREATE]


def test_without_storage_nothing_is_sent(client, deployment, files):
    answer = {"episode_id": "1", "status": "recording", "storage": "unconfigured", "upload_urls": []}
    deployment.on("POST", CREATE, Answer(201, answer))
    episode = client.start_episode()
    assert (episode.storage, episode.upload_urls) == ("unconfigured", {})
    with pytest.raises(ConfigurationError, match="no storage configured"):
        episode.upload("video", files["video"])
    assert [request.path for request in deployment.requests] == [CREATE]


@pytest.mark.parametrize("kind", ["video", "sensors", "actions"])
def test_the_shortcuts_are_deprecated_at_the_callers_line(episode, files, kind):
    with pytest.warns(
        DeprecationWarning, match=rf"upload_{kind}\(path\) is deprecated; use upload\('{kind}', path\)"
    ) as seen:
        size = getattr(episode, f"upload_{kind}")(files[kind])
    assert size == files[kind].stat().st_size
    assert [warning.filename for warning in seen] == [__file__]


def test_upload_itself_warns_of_nothing(episode, files):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        episode.upload("video", files["video"])


# --- finalize


def test_finalize_sends_what_is_given_and_nothing_else(episode, deployment):
    episode.finalize()
    (request,) = deployment.requests
    assert (request.method, request.target) == ("POST", FINALIZE)
    assert request.json == {"status": "ready"}
    assert episode.status == "ready"


def test_finalize_sends_everything_under_its_own_name(episode, deployment):
    episode.finalize(
        status="failed", duration_s=3, fps=10, bytes_total=99, failure_time_s=2.5, metadata={"nan": float("nan")}
    )
    assert deployment.requests[0].json == {
        "status": "failed",
        "duration_s": 3.0,
        "fps": 10.0,
        "bytes_total": 99,
        "failure_time_s": 2.5,
        "metadata": {"nan": None, "robotrace": {"sanitized": ["nan"]}},
    }


def test_a_second_finalize_sends_nothing_and_changes_nothing(episode, deployment):
    episode.finalize()
    episode.finalize(status="failed")
    assert len(deployment.requests) == 1
    assert episode.status == "ready"


def test_a_finalize_that_failed_can_be_repeated(episode, deployment):
    deployment.on("POST", FINALIZE, Answer(503, {"error": "soon"}), Answer(200, {"status": "ready"}))
    with pytest.raises(ServerError, match="soon"):
        episode.finalize()
    assert episode.status == "recording"
    episode.finalize()
    assert episode.status == "ready"


def test_a_finalize_whose_connection_breaks_is_tried_once_more(episode, deployment):
    deployment.on("POST", FINALIZE, Answer(cut=True), Answer(200, {"status": "ready"}))
    episode.finalize(duration_s=1.0)
    first, second = deployment.requests
    assert first.json == second.json
    assert episode.status == "ready"


def test_a_finalize_whose_connection_breaks_twice_is_an_error(episode, deployment):
    deployment.on("POST", FINALIZE, Answer(cut=True))
    with pytest.raises(TransportError):
        episode.finalize()
    assert len(deployment.requests) == 2
    assert episode.status == "recording"


def test_a_finalize_that_nobody_answers_is_not_repeated(deployment):
    deployment.on("POST", FINALIZE, Answer(hold=threading.Event()))
    with Client(base_url=deployment.url, api_key=API_KEY, timeout=httpx.Timeout(10.0, read=0.05)) as client:
        episode = Episode(id=EPISODE_ID, status="recording", storage="r2", _client=client)
        with pytest.raises(TransportError, match="timed out"):
            episode.finalize()
    eventually(lambda: deployment.requests)
    assert len(deployment.requests) == 1


def test_a_rate_limited_finalize_is_not_repeated(client, episode, deployment):
    deployment.on("POST", FINALIZE, Answer(429, {"error": "slow down"}, {"Retry-After": "3"}))
    with pytest.raises(RateLimitError, match="slow down") as caught:
        episode.finalize()
    assert caught.value.retry_after == 3.0
    assert len(deployment.requests) == 1
    assert client.slept == []


def test_the_bytes_of_a_slot_that_is_replaced_count_once(episode, deployment, files):
    episode.upload("video", files["video"])
    files["sensors"].write_bytes(b"first")
    episode.upload("sensors", files["sensors"])
    files["sensors"].write_bytes(b"second one")
    episode.upload("sensors", files["sensors"])
    episode.finalize()
    assert deployment.requests[-1].json["bytes_total"] == len(b"bytes of video") + len(b"second one")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"status": "recording"}, "status is 'recording'"),
        ({"failure_time_s": 1.0}, "only"),
        ({"duration_s": float("nan")}, "finite"),
        ({"bytes_total": 1.5}, "bytes_total must be an integer"),
        ({"bytes_total": -1}, "bytes_total must be 0 or more"),
        ({"duration_s": -1}, "duration_s must be a finite number, 0 or more"),
        ({"fps": 0}, "fps must be a finite number above 0"),
        ({"metadata": ["a"]}, "metadata must be a mapping"),
    ],
)
def test_a_finalize_that_does_not_fit_sends_nothing(episode, deployment, arguments, text):
    with pytest.raises(ConfigurationError, match=text):
        episode.finalize(**arguments)
    assert deployment.requests == []


def test_an_archived_episode_is_a_conflict(episode, deployment):
    deployment.on("POST", FINALIZE, Answer(409, {"error": "the episode is archived"}))
    with pytest.raises(ConflictError, match="archived"):
        episode.finalize()


def test_an_episode_without_a_client_says_so(files):
    episode = Episode(id="1", status="recording", storage="r2")
    with pytest.raises(ConfigurationError, match="belongs to no Client"):
        episode.finalize()


# --- as a context manager


def test_a_clean_exit_finalizes_as_ready(client, deployment, files):
    with client.start_episode() as episode:
        episode.upload("video", files["video"])
    assert deployment.requests[-1].json == {"status": "ready", "bytes_total": 14}
    assert episode.status == "ready"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no grip"), "ValueError: no grip"),
        (KeyboardInterrupt(), "KeyboardInterrupt: "),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_an_exception_finalizes_as_failed_and_goes_on(client, deployment, error, reason):
    with pytest.raises(type(error)) as caught:
        with client.start_episode():
            raise error
    assert caught.value is error
    assert deployment.requests[-1].json == {"status": "failed", "metadata": {"failure_reason": reason}}


def test_what_was_finalized_inside_stays_so(client, deployment):
    with client.start_episode() as episode:
        episode.finalize(status="failed", failure_time_s=1.0)
    assert len(deployment.received("POST", FINALIZE)) == 1
    assert episode.status == "failed"


def test_a_failing_finalize_does_not_mask_the_exception(client, deployment, caplog):
    deployment.on("POST", FINALIZE, Answer(500, {"error": "broken"}))
    with caplog.at_level(logging.WARNING, "robotrace"), pytest.raises(ValueError, match="no grip") as caught:
        with client.start_episode():
            raise ValueError("no grip")
    assert caught.value.__cause__ is None
    assert "could not be finalized as failed: broken" in caplog.text


def test_a_failing_finalize_on_a_clean_exit_is_raised(client, deployment):
    deployment.on("POST", FINALIZE, Answer(500, {"error": "broken"}))
    with pytest.raises(ServerError, match="broken"):
        with client.start_episode():
            pass


def test_an_exception_that_cannot_be_printed_finalizes_as_failed_too(client, deployment):
    class Unprintable(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    with pytest.raises(Unprintable):
        with client.start_episode():
            raise Unprintable
    assert deployment.requests[-1].json == {"status": "failed", "metadata": {"failure_reason": "Unprintable"}}


def run_with(server, body):
    """Run ``with client.start_episode(): <body>`` in a process of its own."""
    script = f"""
import robotrace
with robotrace.Client(base_url={server.url!r}, api_key={API_KEY!r}) as client:
    with client.start_episode(artifacts=()):
        {body}
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_nobody_overlooks_a_finalize_that_failed_on_a_clean_exit(deployment):
    deployment.on("POST", FINALIZE, Answer(500, {"error": "the disk is full"}))
    done = run_with(deployment, "pass")
    assert done.returncode == 1
    assert done.stderr.endswith("robotrace.errors.ServerError: the disk is full\n")


def test_nobody_overlooks_a_finalize_that_failed_after_an_exception(deployment):
    deployment.on("POST", FINALIZE, Answer(500, {"error": "the disk is full"}))
    done = run_with(deployment, "raise ValueError('no grip')")
    assert done.returncode == 1
    text = f"episode {EPISODE_ID} could not be finalized as failed: the disk is full"
    # Once by the logger, which every process has; from Python 3.11 on in the traceback too.
    assert done.stderr.startswith(f"{text}\n")
    last = f"ValueError: no grip\nrobotrace: {text}\n" if sys.version_info >= (3, 11) else "ValueError: no grip\n"
    assert done.stderr.endswith(last)
