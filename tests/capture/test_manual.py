"""``robotrace.record()``: loops without an environment, real robots among them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("av")

from recorded import RecordedEpisode, sealed  # noqa: E402

import robotrace  # noqa: E402
from robotrace import session  # noqa: E402
from robotrace.capture import manual  # noqa: E402
from robotrace.capture.decisions import Series  # noqa: E402
from robotrace.capture.manual import LoopEpisode  # noqa: E402
from robotrace.capture.options import resolve_options  # noqa: E402
from robotrace.capture.streams import Stream  # noqa: E402
from robotrace.errors import ConfigurationError  # noqa: E402


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(manual, "_series", Series())
    session.reset()
    yield
    session.reset()


def episodes() -> list[RecordedEpisode]:
    assert robotrace.flush()
    return sealed()


def picture(shade: int, size: tuple[int, int] = (64, 96)) -> Any:
    return np.full((*size, 3), shade, np.uint8)


def test_a_robots_loop_is_recorded_at_the_times_it_says() -> None:
    observation = np.zeros(3, np.float32)
    with robotrace.record(policy_version="act-v7", robot="arm-2", fps=50) as episode:
        for k in range(10):
            observation[:] = k  # the driver's own buffer
            episode.step(
                observation={"joints": observation, "gripper": k % 2},
                action=np.array([k, -k]),
                reward=0.5,
                sensors={"battery": 24.0 - k},
                t=1000.0 + 0.02 * k,
            )
        episode.outcome(success=True, collision_count=0)
    (found,) = episodes()
    sensors, actions = found.arrays("sensors"), found.arrays("actions")
    stamps = np.arange(10) * 20_000_000
    np.testing.assert_allclose(sensors["observation.joints/value"][:, 0], np.arange(10))
    assert sensors["observation.joints/value"].dtype == np.float32
    assert sensors["observation.gripper/value"].tolist() == [0, 1] * 5
    assert sensors["battery/value"].tolist() == [24.0 - k for k in range(10)]
    assert sensors["reward/value"].tolist() == [0.5] * 10
    assert actions["action/value"].tolist() == [[k, -k] for k in range(10)]
    for key in ("observation.joints", "observation.gripper", "battery", "reward"):
        np.testing.assert_allclose(sensors[f"{key}/_t_ns"], stamps, atol=1_000)
    np.testing.assert_allclose(actions["action/_t_ns"], stamps, atol=1_000)
    assert found.create["source"] == "real"
    assert (found.create["robot"], found.create["policy_version"]) == ("arm-2", "act-v7")
    assert (found.create["fps"], found.create["name"]) == (50.0, "arm-2 #0")
    assert found.metadata["clock"] == "caller"
    assert found.metadata["reproduce"]["reproducible"] is False
    assert found.metadata["outcome"] == {
        "success": True,
        "reward_total": 5.0,
        "steps": 10,
        "terminated": False,
        "truncated": False,
        "collision_count": 0,
    }
    assert found.finalize["status"] == "ready"
    assert found.finalize["duration_s"] == pytest.approx(0.18)


def test_sensors_at_rates_of_their_own_have_clocks_of_their_own() -> None:
    with robotrace.record() as episode:
        for k in range(100):
            episode.step(sensors={"imu": robotrace.Imu([0.0, 0.0, k], [0.0] * 3)}, t=k * 0.001)
            if k % 10 == 0:
                episode.step(observation=np.array([k]), action=np.array([k]), t=k * 0.001)
            if k % 50 == 0:
                episode.step(sensors={"battery": 24.0}, t=k * 0.001)
    (found,) = episodes()
    sensors = found.arrays("sensors")
    assert sensors["imu.linear_acceleration/value"].shape == (100, 3)
    np.testing.assert_allclose(sensors["imu.linear_acceleration/_t_ns"], np.arange(100) * 1_000_000, atol=1)
    np.testing.assert_allclose(sensors["observation/_t_ns"], np.arange(0, 100, 10) * 1_000_000, atol=1)
    np.testing.assert_allclose(sensors["battery/_t_ns"], [0, 50_000_000], atol=1)
    assert found.metadata["outcome"]["steps"] == 10


def test_several_cameras_have_pictures_at_their_times() -> None:
    with robotrace.record() as episode:
        for k, t in enumerate((0.0, 0.04, 0.1, 0.25)):
            episode.step(observation=k, frames={"wrist": picture(40 * k), "top": picture(255 - 40 * k)}, t=t)
    (found,) = episodes()
    frames, times = found.frames()
    assert [round(float(frame.mean()) / 40) for frame in frames] == [0, 1, 2, 3]
    np.testing.assert_allclose(times, [0.0, 0.04, 0.1, 0.25], atol=1e-3)
    assert {camera["name"] for camera in found.metadata["video"]["cameras"]} == {"wrist", "top"}


def test_one_picture_needs_no_name_and_every_nth_is_kept() -> None:
    with robotrace.record(video_every_n_steps=2) as episode:
        for k in range(5):
            episode.step(frames=picture(50 * k), t=0.1 * k)
    (found,) = episodes()
    assert [round(float(frame.mean()) / 50) for frame in found.frames()[0]] == [0, 2, 4]
    assert [camera["name"] for camera in found.metadata["video"]["cameras"]] == ["camera"]


@pytest.mark.parametrize("source", [{}, {"source": "sim"}])
def test_a_loop_without_an_environment_has_nothing_to_run_again(source: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"video='deferred' .* has none; .*episode.step\(frames=...\)"):
        robotrace.record(video="deferred", **source)


def test_without_video_pictures_are_left_alone() -> None:
    with robotrace.record(video=False) as episode:
        episode.step(observation=1, frames="no picture at all", t=0.0)
    assert "video" not in episodes()[0].metadata


# --- time


def stepped(times: list[Any], **options: Any) -> RecordedEpisode:
    ticks = iter(range(0, 10**12, 1_000_000))
    checked = resolve_options({"source": "real", **options})
    with LoopEpisode(checked, session.recording_process, clock=lambda: next(ticks)) as episode:
        for t in times:
            episode.step(observation=1.0, t=t)
    return episodes()[-1]


@pytest.mark.parametrize(
    ("times", "options", "stamps_ms", "source", "faults"),
    [
        ([None] * 3, {}, [0, 1, 2], "monotonic", None),
        ([None] * 3, {"fps": 50}, [0, 1, 2], "monotonic", None),
        ([None] * 3, {"fps": 50, "source": "sim"}, [0, 20, 40], "fps", None),
        ([5.0, 5.5, 7.0], {"fps": 50, "source": "sim"}, [0, 500, 2000], "caller", None),
        ([1.7e9, 1.7e9 + 0.25, 1.7e9 + 0.5], {}, [0, 250, 500], "caller", None),
        ([0.0, 0.5, 0.25], {}, [0, 500, 250], "caller", {"out_of_order": 1}),
        ([0.0, None, 0.5], {}, [0, 1, 500], "caller", {"unstamped": 1}),
        ([0.0, float("nan"), "later"], {}, [0, 1, 2], "caller", {"unstamped": 2}),
        ([None, 3.0, None], {}, [0, 1, 2], "monotonic", {"unstamped": 1}),
        ([0.0, 1e300, 0.5], {}, [0, 1, 500], "caller", {"unstamped": 1}),
        ([0.0, 10.0**10, -(10.0**10)], {}, [0, 1, 2], "caller", {"unstamped": 2}),  # nanoseconds, by mistake
        ([np.float32(1.0), np.float64(1.5), 2], {}, [0, 500, 1000], "caller", None),
    ],
)
def test_the_first_step_says_whose_clock_it_is(
    times: list[Any], options: dict[str, Any], stamps_ms: list[int], source: str, faults: dict[str, int] | None
) -> None:
    found = stepped(times, **options)
    assert (found.arrays("sensors")["observation/_t_ns"] / 1e6).tolist() == stamps_ms
    assert found.metadata["clock"] == source
    assert found.metadata.get("stamps") == faults
    assert found.finalize["duration_s"] == pytest.approx(max(stamps_ms) / 1e3)


# --- outcomes


def test_an_exception_passes_and_is_the_episode_we_most_want() -> None:
    with pytest.raises(ZeroDivisionError), robotrace.record() as episode:  # noqa: PT012 - the loop is the point
        episode.step(observation=1.0, t=0.0)
        episode.step(observation=2.0, t=2.5)
        _ = 1 // 0
    (found,) = episodes()
    assert found.finalize["status"] == "failed"
    assert found.finalize["failure_time_s"] == 2.5
    assert found.metadata["exception"]["type"] == "ZeroDivisionError"
    assert found.metadata["outcome"]["success"] is False


@pytest.mark.parametrize(
    ("tell", "status", "success", "reason"),
    [
        (lambda episode: None, "ready", None, None),
        (lambda episode: episode.outcome(success=True), "ready", True, None),
        (lambda episode: episode.outcome(success=False), "failed", False, "outcome(success=False)"),
        (lambda episode: episode.fail("dropped the cup"), "failed", False, "dropped the cup"),
        (lambda episode: episode.step(info={"is_success": False}), "failed", False, "is_success is false at the end"),
        (lambda episode: episode.step(info={"is_success": np.True_}), "ready", True, None),
        (
            lambda episode: (episode.step(info={"is_success": False}), episode.outcome(success=True)),
            "ready",
            True,
            None,
        ),
    ],
)
def test_the_outcome_is_what_the_caller_says_else_what_the_info_says(
    tell: Any, status: str, success: bool | None, reason: str | None
) -> None:
    with robotrace.record() as episode:
        episode.step(observation=1.0)
        tell(episode)
    (found,) = episodes()
    assert (found.finalize["status"], found.metadata["outcome"]["success"]) == (status, success)
    assert (found.metadata.get("failure_reason") or "").startswith(reason or "")
    assert ("failure_reason" in found.metadata) is (reason is not None)


def test_the_callers_total_wins_over_the_sum() -> None:
    with robotrace.record() as episode:
        episode.step(reward=1)
        episode.outcome(reward_total=7.5, success=True)
    assert episodes()[0].metadata["outcome"]["reward_total"] == 7.5


@pytest.mark.parametrize(
    ("infos", "keys"), [("auto", []), (False, []), (True, ["info.x/value"]), (["x"], ["info.x/value"])]
)
def test_infos_are_kept_as_the_option_says(infos: Any, keys: list[str]) -> None:
    with robotrace.record(infos=infos) as episode:
        for k in range(3):
            episode.step(observation=k, info={"x": float(k)}, t=k)
    (found,) = episodes()
    assert [key for key in found.arrays("sensors") if key.startswith("info") and key.endswith("value")] == keys
    assert found.metadata.get("final_info") == (None if infos is False else {"x": 2.0})


def test_an_info_that_the_caller_fills_anew_is_what_it_was_at_its_step() -> None:
    info: dict[str, Any] = {"is_success": True}
    with robotrace.record() as episode:
        episode.step(observation=1.0, info=info)
        info.update(is_success=False, next_goal=2)
    (found,) = episodes()
    assert (found.metadata["outcome"]["success"], found.metadata["final_info"]) == (True, {"is_success": True})


@pytest.mark.parametrize(("images", "kept"), [("auto", "video"), ("arrays", "arrays"), ("drop", None)])
def test_images_in_observations_become_what_the_option_says(images: Any, kept: str | None) -> None:
    with robotrace.record(images=images) as episode:
        for k in range(4):
            episode.step(observation={"wrist": picture(40 * k, (96, 128)), "joints": np.full(2, k)}, t=0.1 * k)
            episode.step(sensors={"battery": 24.0}, t=0.1 * k + 0.05)
    (found,) = episodes()
    sensors = found.arrays("sensors")
    assert sensors["observation.joints/value"][:, 0].tolist() == [0, 1, 2, 3]
    assert ("observation.wrist/value" in sensors) is (kept == "arrays")
    assert ("video" in found.metadata) is (kept == "video")
    if kept == "video":
        frames, times = found.frames()
        assert [round(float(frame.mean()) / 40) for frame in frames] == [0, 1, 2, 3]
        np.testing.assert_allclose(times, [0.0, 0.1, 0.2, 0.3], atol=1e-3)


# --- which are recorded


def run(**options: Any) -> None:
    with robotrace.record(**options) as episode:
        episode.step(observation=1.0)
        episode.outcome(success=options.get("name") != "bad")


def test_the_episodes_of_a_process_are_numbered_and_sampled_together() -> None:
    for _ in range(7):
        run(every_n_episodes=3)
    assert [found.metadata["episode_index"] for found in episodes()] == [0, 3, 6]


def test_a_trigger_of_text_keeps_its_memory_from_episode_to_episode() -> None:
    for _ in range(3):
        run(trigger="rate(1/h)")
    assert len(episodes()) == 1


def test_limits_hold_over_all_of_them() -> None:
    for _ in range(4):
        run(max_episodes=2)
    assert len(episodes()) == 2


def test_only_failures() -> None:
    for name in ("good", "bad", "good"):
        run(name=name, only="failures")
    assert [found.create["name"] for found in episodes()] == ["bad"]


def test_switched_off_every_call_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOTRACE_ENABLED", "0")
    with robotrace.record(every_n_episodes=1) as episode:
        assert not episode.recording
        episode.step(observation=object(), frames=object(), sensors={"x": object()}, t="never")
        episode.outcome(success=False)
        episode.fail("nothing")
    assert session._current is None
    assert sealed() == []


# --- misuse, and faults of ours


def test_an_episode_belongs_in_a_with_and_is_recorded_once() -> None:
    episode = robotrace.record()
    with pytest.raises(RuntimeError, match="with robotrace"):
        episode.step(observation=1)
    with episode:
        episode.step(observation=1)
    episode.step(observation=2)  # a thread that is late: nothing
    with pytest.raises(RuntimeError, match="recorded once"):
        episode.__enter__()
    assert episodes()[0].metadata["outcome"]["steps"] == 1


def test_an_option_that_does_not_exist_is_named() -> None:
    with pytest.raises(TypeError, match="did you mean 'policy_version'"):
        robotrace.record(polcy_version="x")


def test_a_sensor_named_as_one_of_our_streams_does_not_mix_with_it() -> None:
    with robotrace.record() as episode:
        episode.step(observation=1.0, sensors={"observation": 5.0, "reward": 2.0})
    sensors = episodes()[0].arrays("sensors")
    assert sensors["observation/value"].tolist() == [1.0]
    assert sensors["sensors.observation/value"].tolist() == [5.0]
    assert "reward/value" not in sensors


def test_a_fault_of_ours_ends_the_recording_not_the_loop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    with robotrace.record() as episode:
        episode.step(reward=1.0)
        with monkeypatch.context() as patch:
            patch.setattr(Stream, "at", None)
            episode.step(reward=1.0)
    assert "the run goes on" in caplog.text
    assert "*" in episodes()[0].metadata["incomplete"]


def test_several_threads_may_bring_their_own_streams() -> None:
    with robotrace.record(video=False) as episode:

        def bring(name: str) -> None:
            for k in range(200):
                episode.step(sensors={name: float(k)})

        threads = [threading.Thread(target=bring, args=(name,)) for name in ("left", "right")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sensors = episodes()[0].arrays("sensors")
    for name in ("left", "right"):
        assert sensors[f"{name}/value"].tolist() == [float(k) for k in range(200)]
        assert len(sensors[f"{name}/_t_ns"]) == 200


def test_the_process_that_ends_in_the_middle_leaves_a_failed_episode() -> None:
    episode = robotrace.record()
    episode.__enter__()
    episode.step(observation=1.0)
    session.reset()
    (found,) = sealed()
    assert found.finalize["status"] == "failed"
    assert found.metadata["failure_reason"].startswith("interrupted")
    episode.step(observation=2.0)
    episode.__exit__(None, None, None)
