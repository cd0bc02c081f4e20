"""From ``env.step`` to the portal's data: a real env, the real uploader, the real deployment."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("fastapi")
np = pytest.importorskip("numpy")
av = pytest.importorskip("av")

import gymnasium as gym  # noqa: E402
import httpx  # noqa: E402
from gymnasium_envs import LoggingEnv, read_barcode  # noqa: E402
from polling import eventually  # noqa: E402

from robotrace import session  # noqa: E402
from robotrace.client import Client  # noqa: E402
from robotrace.deliver.spool import open_spool  # noqa: E402
from robotrace.errors import AuthError  # noqa: E402
from robotrace.serve.server import Deployment  # noqa: E402
from robotrace.serve.settings import Settings  # noqa: E402
from robotrace_gymnasium import RoboTraceRecorder  # noqa: E402


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """The parameter: whether failed episodes are rendered."""
    return Settings(tmp_path / "deployment", port=0, render_failed=getattr(request, "param", False))


@pytest.fixture
def deployment(settings: Settings) -> Iterator[Deployment]:
    with Deployment(settings) as deployment:
        yield deployment


@pytest.fixture
def configured(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    monkeypatch.setenv("ROBOTRACE_BASE_URL", deployment.base_url)
    monkeypatch.setenv("ROBOTRACE_API_KEY", deployment.first_key or "")
    session.reset()
    yield deployment
    session.reset()


def rollout(env: gym.Env, seed: int) -> None:
    rng = np.random.default_rng(0)
    env.reset(seed=seed)
    while not any(env.step(rng.uniform(-1, 1, 2))[2:4]):
        pass


def recorder(length: int = 20) -> RoboTraceRecorder:
    return RoboTraceRecorder(LoggingEnv(length=length), video_trigger=1, max_per_minute=None, policy_version="p1")


def registered() -> str:
    """The id of an env that another process can make, too."""
    if "Logging-v0" not in gym.registry:
        gym.register("Logging-v0", entry_point="gymnasium_envs:LoggingEnv")
    return "Logging-v0"


def listed(deployment: Deployment) -> list[dict[str, object]]:
    return httpx.get(f"{deployment.base_url}/portal/episodes.json?limit=200").json()["episodes"]


def test_what_was_recorded_is_what_the_deployment_gives_back(configured: Deployment) -> None:
    env = recorder(length=21)
    rollout(env, 41)
    assert env.flush()
    (episode,) = listed(configured)
    assert episode["status"] == "failed"
    assert (episode["policy_version"], episode["seed"]) == ("p1", "41")
    assert episode["steps"] == 21
    headers = {"Authorization": f"Bearer {configured.first_key}"}
    base = f"{configured.base_url}/api/episodes/{episode['id']}/artifact"

    def artifact(kind: str) -> bytes:
        return httpx.get(f"{base}/{kind}", headers=headers, follow_redirects=True).raise_for_status().content

    with np.load(io.BytesIO(artifact("actions")), allow_pickle=False) as actions:
        np.testing.assert_array_equal(actions["action/value"], env.unwrapped.log[0]["actions"])
    with av.open(io.BytesIO(artifact("video"))) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert [read_barcode(frame) for frame in frames] == list(range(22))
    times = np.frombuffer(httpx.get(f"{configured.base_url}/portal/episodes/{episode['id']}/frames.bin").content, "<f8")
    np.testing.assert_allclose(times, np.arange(23) * 50.0, atol=1e-3)


@pytest.mark.parametrize("settings", [True], indirect=True)
def test_a_video_that_was_left_for_later_is_made_by_the_deployment(configured: Deployment) -> None:
    """Frame by frame what a live recording would have shown, at the same times."""
    env = RoboTraceRecorder(
        gym.make(registered(), length=21, disable_env_checker=True), video="deferred", max_per_minute=None
    )
    rollout(env, 41)
    assert env.unwrapped.rendered == 0
    assert env.flush()
    (episode,) = listed(configured)
    assert (episode["status"], episode["steps"]) == ("failed", 21)
    twin = f"{configured.base_url}/portal/episodes/{episode['id']}.json"
    eventually(lambda: httpx.get(twin).json()["reproduction"], 60)
    view = httpx.get(twin).json()
    assert view["reproduction"]["verdict"] == "reproduced", view["reproduction"]
    assert view["episode"]["metadata"]["video"]["frames"] == 22
    with av.open(io.BytesIO(httpx.get(configured.base_url + view["video"]["url"]).content)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert [read_barcode(frame) for frame in frames] == list(range(22))
    times = np.frombuffer(httpx.get(configured.base_url + view["video"]["frames_url"]).content, "<f8")
    np.testing.assert_allclose(times, np.arange(23) * 50.0, atol=1e-3)


def test_a_server_that_stops_in_the_middle_costs_one_warning_and_nothing_else(
    configured: Deployment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env = recorder()
    for seed in range(3):
        rollout(env, seed)
    assert env.flush()
    port = int(configured.base_url.rpartition(":")[2])
    configured.stop()
    for seed in range(3, 8):
        rollout(env, seed)
    assert not env.flush(1.0)
    warnings = [record for record in caplog.records if record.name == "robotrace" and record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "Episodes are safe" in warnings[0].getMessage()
    with Deployment(Settings(tmp_path / "deployment", port=port)) as again:
        assert env.flush(90.0)
        assert sorted(int(str(episode["seed"])) for episode in listed(again)) == list(range(8))
    assert open_spool().counts().sealed == 0


def test_a_wrong_key_is_named_in_one_warning_and_the_episodes_wait(
    configured: Deployment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "rt_0123456789_" + "x" * 43
    monkeypatch.setenv("ROBOTRACE_API_KEY", wrong)
    session.reset()
    env = recorder()
    rollout(env, 1)
    eventually(lambda: "refused the API key" in caplog.text)
    assert wrong not in caplog.text
    assert open_spool().counts().sealed == 1
    with Client() as client, pytest.raises(AuthError):
        client.start_episode(artifacts=())
    monkeypatch.setenv("ROBOTRACE_API_KEY", configured.first_key or "")
    assert env.flush(60.0)
    assert len(listed(configured)) == 1


def test_the_synchronous_client_logs_to_it_too(configured: Deployment, tmp_path: Path) -> None:
    np.savez(tmp_path / "sensors.npz", **{"a/value": np.arange(3), "a/_t_ns": np.arange(3)})
    with Client() as client:
        episode = client.log_episode(name="by hand", seed=7, sensors=tmp_path / "sensors.npz", duration_s=1.0)
    assert episode.status == "ready"
    (found,) = listed(configured)
    assert (found["id"], found["name"], found["seed"]) == (episode.id, "by hand", "7")
