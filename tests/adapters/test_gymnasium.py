"""One rollout: described, in files, and on a deployment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

gym = pytest.importorskip("gymnasium")

import av  # noqa: E402
import numpy as np  # noqa: E402
from gymnasium_envs import LoggingEnv, read_barcode  # noqa: E402

import robotrace  # noqa: E402
from robotrace.adapters.gymnasium import EncodedRollout, EnvSummary, encode_rollout, scan_env, upload_rollout  # noqa: E402
from robotrace.client import Client  # noqa: E402
from robotrace.errors import ConfigurationError, ServerError  # noqa: E402
from robotrace.testing import Fault, FaultServer  # noqa: E402
from robotrace_gymnasium import RoboTraceRecorder  # noqa: E402


@pytest.fixture
def ingest() -> Any:
    with FaultServer() as server:
        yield server


@pytest.fixture
def client(ingest: FaultServer) -> Any:
    with Client(base_url=ingest.url, api_key="rt_test") as made:
        yield made


def still(observation: Any, info: dict[str, Any]) -> Any:
    return np.zeros(2)


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as loaded:
        return {key: loaded[key] for key in loaded}


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_env_is_described_without_being_run() -> None:
    env = LoggingEnv()
    summary = scan_env(env)
    assert summary == EnvSummary(
        "LoggingEnv",
        "Dict('flag': Discrete(7), 'pose': Box(-inf, inf, (3,), float32))",
        "Box(-1.0, 1.0, (2,), float64)",
        ("rgb_array",),
        "rgb_array",
        True,
    )
    assert env.log == []
    assert summary.report().splitlines()[0] == "LoggingEnv"
    assert scan_env(gym.make("CartPole-v1")).can_record_video is False
    assert "render_mode='rgb_array'" in scan_env(gym.make("CartPole-v1")).report()


@pytest.mark.parametrize("what", [3, object(), "CartPole-v1"])
def test_what_is_no_env_is_refused(what: Any) -> None:
    with pytest.raises(ConfigurationError, match=type(what).__name__):
        scan_env(what)


def test_many_envs_at_once_are_refused() -> None:
    many = gym.vector.SyncVectorEnv([lambda: gym.make("CartPole-v1")])
    with pytest.raises(ConfigurationError, match="many environments at once"):
        scan_env(many)


def test_a_rollout_lies_in_three_files_and_equals_what_the_env_did(tmp_path: Path) -> None:
    env, seen = LoggingEnv(), []

    def policy(observation: Any, info: dict[str, Any]) -> Any:
        seen.append(observation["flag"])
        return np.array([0.25, len(seen)])

    rollout = encode_rollout(env, tmp_path / "out", policy=policy, seed=5)
    (log,) = env.log
    assert isinstance(rollout, EncodedRollout)
    assert left_in(tmp_path / "out") == ["actions.npz", "sensors.npz", "video.mp4"]
    assert rollout.sensors is not None
    assert rollout.actions is not None
    assert rollout.video is not None
    for artifact in (rollout.sensors, rollout.actions, rollout.video):
        assert artifact.bytes_size == artifact.path.stat().st_size
    sensors, actions = arrays(rollout.sensors.path), arrays(rollout.actions.path)
    np.testing.assert_array_equal(sensors["observation.pose/value"], [pose for pose, _ in log["observations"]])
    np.testing.assert_array_equal(sensors["observation.flag/value"], [flag for _, flag in log["observations"]])
    np.testing.assert_array_equal(sensors["reward/value"], log["rewards"])
    np.testing.assert_array_equal(actions["action/value"], log["actions"])
    assert len(sensors["observation.pose/value"]) == 21
    with av.open(str(rollout.video.path)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert [read_barcode(frame) for frame in frames] == list(range(21))
    assert np.abs(frames[0][60, 100].astype(int) - (255, 0, 0)).max() <= 6
    assert seen == [flag for _, flag in log["observations"][:-1]]
    assert (rollout.duration_s, rollout.fps) == (1.0, 20.0)
    expected = {"adapter": "gymnasium", "gymnasium_env_id": "LoggingEnv", "steps": 20, "terminated": True}
    assert expected.items() <= rollout.metadata.items()
    assert rollout.metadata["total_reward"] == sum(log["rewards"])
    assert rollout.metadata["outcome"]["success"] is True
    assert rollout.metadata["reproduce"]["seed"] == 5


def test_the_env_comes_back_as_it_was(tmp_path: Path) -> None:
    env = gym.make("CartPole-v1", render_mode="rgb_array")
    closed = []
    env.unwrapped.close = lambda: closed.append(True)
    encode_rollout(env, tmp_path, policy=lambda observation, info: 0, seed=1)
    assert closed == []
    layers = [env, env.env, env.env.env, env.unwrapped]
    assert not [name for layer in layers for name in ("reset", "step", "render") if name in vars(layer)]
    assert env.reset(seed=2)[0].shape == (4,)
    del env.unwrapped.close
    env.close()


def test_a_recorded_env_has_one_record_only(tmp_path: Path) -> None:
    from recorded import sealed

    env = RoboTraceRecorder(LoggingEnv(length=3))
    encode_rollout(env, tmp_path, policy=still)
    env.flush()
    assert sealed() == []
    assert (tmp_path / "sensors.npz").exists()


def test_the_length_is_bounded_and_the_rest_is_left_open(tmp_path: Path) -> None:
    rollout = encode_rollout(LoggingEnv(), tmp_path, policy=still, max_steps=4)
    assert (rollout.metadata["steps"], rollout.metadata["terminated"], rollout.metadata["truncated"]) == (
        4,
        False,
        False,
    )
    assert rollout.metadata["partial"] is True


def test_video_is_recorded_where_it_is_possible_unless_told_otherwise(tmp_path: Path) -> None:
    assert encode_rollout(LoggingEnv(length=2), tmp_path, policy=still).video is not None
    env = LoggingEnv(length=2)
    assert encode_rollout(env, tmp_path, policy=still, record_video=False).video is None
    assert env.rendered == 0
    assert left_in(tmp_path) == ["actions.npz", "sensors.npz"]  # not the video of the rollout before
    assert encode_rollout(LoggingEnv(render_mode=None, length=2), tmp_path, policy=still).video is None
    with pytest.raises(ConfigurationError, match="render_mode='rgb_array'; this one has None"):
        encode_rollout(LoggingEnv(render_mode=None), tmp_path, policy=still, record_video=True)


def test_a_renderer_that_fails_costs_the_video_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    env = LoggingEnv(length=3)
    env.render = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    rollout = encode_rollout(env, tmp_path, policy=still)
    assert rollout.video is None
    assert "ZeroDivisionError" in rollout.metadata["incomplete"]["video"]
    assert rollout.metadata["steps"] == 3


def test_fps_is_for_an_env_without_a_clock(tmp_path: Path) -> None:
    class Timeless(LoggingEnv):
        metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - Gymnasium's form
        dt = None

    assert encode_rollout(Timeless(length=3), tmp_path, policy=still).fps == 30.0
    assert encode_rollout(Timeless(length=3), tmp_path, policy=still, fps=12.5).fps == 12.5
    rollout = encode_rollout(LoggingEnv(length=3), tmp_path, policy=still, fps=12.5)
    assert rollout.fps == 20.0
    assert rollout.sensors is not None
    assert arrays(rollout.sensors.path)["observation.pose/_t_ns"].tolist() == [0, 50_000_000, 100_000_000, 150_000_000]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_steps": 0}, "max_steps"),
        ({"max_steps": 2.5}, "max_steps"),
        ({"fps": 0}, "fps"),
        ({"fps": float("nan")}, "fps"),
    ],
)
def test_an_argument_that_does_not_fit_is_named_and_nothing_is_run(
    given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    env = LoggingEnv()
    with pytest.raises(ConfigurationError, match=message):
        encode_rollout(env, tmp_path / "out", policy=still, **given)
    assert env.log == []
    assert not (tmp_path / "out").exists()


def test_an_exception_goes_on_and_the_files_hold_what_was_until_then(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="on fire"):
        encode_rollout(LoggingEnv(raises_at=3), tmp_path, policy=still)
    assert left_in(tmp_path) == ["actions.npz", "sensors.npz", "video.mp4"]
    assert len(arrays(tmp_path / "sensors.npz")["observation.pose/value"]) == 4
    with pytest.raises(ZeroDivisionError):
        encode_rollout(LoggingEnv(), tmp_path / "policy", policy=lambda observation, info: 1 / 0)


def test_a_reset_that_fails_leaves_nothing(tmp_path: Path) -> None:
    class Stuck(LoggingEnv):
        def reset(self, **kwargs: Any) -> Any:
            raise RuntimeError("no power")

    with pytest.raises(RuntimeError, match="no power"):
        encode_rollout(Stuck(), tmp_path, policy=still)
    assert left_in(tmp_path) == []


def test_ctrl_c_is_not_kept_from_anybody(tmp_path: Path) -> None:
    def tired(observation: Any, info: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_rollout(LoggingEnv(), tmp_path, policy=tired)
    assert left_in(tmp_path) == []


def test_a_rollout_becomes_an_episode(
    ingest: FaultServer, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    episode = upload_rollout(
        LoggingEnv(),
        policy=still,
        client=client,
        policy_version="pd-v2",
        seed=9,
        metadata={"task": "lift", "adapter": "mine"},
    )
    (stored,) = ingest.episodes.values()
    assert (episode.status, stored.finalize["status"]) == ("ready", "ready")
    assert stored.create["name"] == "LoggingEnv"
    assert (stored.create["source"], stored.create["policy_version"], stored.create["seed"]) == ("sim", "pd-v2", 9)
    assert stored.create["env_version"].startswith("gymnasium_envs.LoggingEnv")
    assert sorted(stored.uploads) == ["actions", "sensors", "video"]
    assert (stored.finalize["duration_s"], stored.finalize["fps"]) == (1.0, 20.0)
    assert stored.finalize["metadata"]["outcome"]["steps"] == 20
    assert (stored.finalize["metadata"]["task"], stored.finalize["metadata"]["adapter"]) == ("lift", "mine")
    assert left_in(tmp_path) == []


def test_a_failed_rollout_is_logged_as_failed_and_the_exception_goes_on(
    ingest: FaultServer, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(RuntimeError, match="on fire"):
        upload_rollout(LoggingEnv(raises_at=3), policy=still, client=client)
    (stored,) = ingest.episodes.values()
    assert stored.finalize["status"] == "failed"
    assert stored.finalize["metadata"]["failure_reason"] == "RuntimeError: the gripper is on fire"
    assert stored.finalize["failure_time_s"] == pytest.approx(0.15)
    assert sorted(stored.uploads) == ["actions", "sensors", "video"]
    assert left_in(tmp_path) == []


def test_a_deployment_that_refuses_does_not_hide_why_the_rollout_failed(
    ingest: FaultServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    ingest.fault = lambda method, path: Fault(500, {"error": "full"})
    with pytest.raises(RuntimeError, match="on fire"):
        upload_rollout(LoggingEnv(raises_at=3), policy=still, client=client)
    assert "could not be uploaded: full" in caplog.text


def test_an_upload_that_fails_leaves_no_row_open(ingest: FaultServer, client: Client, tmp_path: Path) -> None:
    ingest.fault = lambda method, path: Fault(500, {"error": "full"}) if method == "PUT" else None
    with pytest.raises(ServerError, match="full"):
        upload_rollout(LoggingEnv(length=2), policy=still, client=client, output_dir=tmp_path)
    (stored,) = ingest.episodes.values()
    assert stored.finalize["status"] == "failed"
    assert left_in(tmp_path) == ["actions.npz", "sensors.npz", "video.mp4"]


def test_the_files_stay_where_they_are_asked_to(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with caplog.at_level("INFO", "robotrace"):
        upload_rollout(LoggingEnv(length=2), policy=still, client=client, keep_artifacts=True, record_video=False)
    (kept,) = tmp_path.iterdir()
    assert left_in(kept) == ["actions.npz", "sensors.npz"]
    assert str(kept) in caplog.text


def test_without_a_deployment_nothing_is_run() -> None:
    env = LoggingEnv()
    with pytest.raises(ConfigurationError, match=r"base URL|API key"):
        upload_rollout(env, policy=still)
    assert env.log == []


def test_the_default_client_is_used(ingest: FaultServer) -> None:
    robotrace.init(api_key="rt_test", base_url=ingest.url)
    upload_rollout(LoggingEnv(length=2), policy=still, record_video=False, status="failed")
    (stored,) = ingest.episodes.values()
    assert stored.finalize["status"] == "failed"


def test_without_the_extra_one_line_says_what_to_install() -> None:
    program = (
        "import sys\n"
        "sys.modules['av'] = sys.modules['gymnasium'] = sys.modules['numpy'] = None\n"
        "import importlib.util\n"
        "importlib.util.find_spec = lambda name: sys.modules.get(name)\n"
        "from robotrace.adapters.gymnasium import encode_rollout\n"
        "try:\n"
        "    encode_rollout(object(), 'nowhere', policy=None)\n"
        "except Exception as exc:\n"
        "    print(type(exc).__name__, exc)\n"
    )
    from command_line import child_environment

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=child_environment({}),
    )
    assert done.stdout.strip() == (
        "ConfigurationError robotrace.adapters.gymnasium needs gymnasium; run: pip install 'robotrace-dev[gymnasium]'"
    )
