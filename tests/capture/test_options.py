from __future__ import annotations

from dataclasses import fields

import pytest

pytest.importorskip("numpy")

from robotrace.capture.options import CaptureOptions, Options, is_enabled, resolve_options
from robotrace.errors import ConfigurationError


def test_the_typed_keywords_are_the_options() -> None:
    assert list(CaptureOptions.__annotations__) == [item.name for item in fields(Options)]


def test_every_option_is_documented() -> None:
    documented = {line.strip().partition(":")[0] for line in (Options.__doc__ or "").splitlines()}
    assert {item.name for item in fields(Options)} <= documented


def test_an_unknown_option_is_named_with_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"unknown option 'polcy_version'; did you mean 'policy_version'\?"):
        resolve_options({"polcy_version": "a"})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("every_n_episodes", 0),
        ("every_n_episodes", 1.5),
        ("max_episodes", -1),
        ("max_per_minute", 0),
        ("max_per_minute", True),
        ("fps", float("nan")),
        ("fps", "25"),
        ("seed", "7"),
        ("seed", 1.5),
        ("video", "yes"),
        ("video", 1),
        ("video", "Deferred"),
        ("video", None),
        ("video_trigger", 0),
        ("video_trigger", "cubical"),
        ("video_trigger", "every(0)"),
        ("video_trigger", True),
        ("trigger", 3),
        ("trigger", "sometimes"),
        ("trigger", "rate(often)"),
        ("video_every_n_steps", 0),
        ("video_every_n_steps", None),
        ("video_size", 8),
        ("video_size", 320.0),
        ("video_envs", -1),
        ("images", "jpeg"),
        ("images", True),
        ("infos", "all"),
        ("infos", 1),
        ("infos", [1]),
        ("last_seconds", 0),
        ("last_seconds", "30"),
        ("realtime", "yes"),
        ("otel_spans", None),
        ("enabled", "no"),
        ("only", "failed"),
        ("source", "simulated"),
        ("keep_partial", "some"),
        ("policy_version", 7),
        ("metadata", [1]),
        ("tags", "one"),
        ("tags", None),
        ("tags", (tag for tag in ("one", "two"))),
        ("infos", iter(["speed"])),
        ("env_indices", iter([0])),
        ("failure", True),
    ],
)
def test_a_bad_value_names_its_option(option: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"^{option}\\b"):
        resolve_options({option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("trigger", "every(10)"),
        ("trigger", "cubic"),
        ("video_trigger", "cubic()"),
        ("video_trigger", "rate(1/min)"),
        ("video_trigger", "rate('30/h')"),
        ("video_trigger", 3),
        ("infos", ["x_position", "contact"]),
        ("infos", False),
        ("images", "drop"),
        ("only", "failures"),
        ("video", "deferred"),
        ("video", "auto"),
        ("video", False),
        ("last_seconds", 30),
        ("video_size", 320),
        ("video_envs", 0),
        ("max_per_minute", None),
    ],
)
def test_plain_values_as_a_yaml_file_has_them_are_taken(option: str, value: object) -> None:
    assert getattr(resolve_options({option: value}), option) == value


def test_without_video_image_observations_stay_arrays_unless_they_are_asked_for_as_video():
    assert resolve_options({"video": False}).images == "arrays"
    assert resolve_options({"video": False, "images": "video"}).images == "video"
    assert resolve_options({"video": False, "images": "drop"}).images == "drop"
    assert resolve_options({}).images == "auto"


def test_what_video_takes_is_said() -> None:
    with pytest.raises(ConfigurationError, match=r"^video is 'later'; it takes True, False, 'auto' or 'deferred'$"):
        resolve_options({"video": "later"})


def test_with_deferred_video_image_observations_stay_arrays_so_that_they_can_be_compared_to_the_bit() -> None:
    assert resolve_options({"video": "deferred"}).images == "arrays"
    assert resolve_options({"video": "deferred", "images": "drop"}).images == "drop"


@pytest.mark.parametrize(
    ("option", "value"), [("source", "real"), ("last_seconds", 30), ("images", "video")], ids=lambda value: str(value)
)
def test_what_keeps_an_episode_from_being_run_again_is_refused_with_deferred_video(option: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"^video='deferred' .*{option}"):
        resolve_options({"video": "deferred", option: value})
    assert getattr(resolve_options({"video": "auto", option: value}), option) == value


@pytest.mark.parametrize(("video", "films"), [("auto", True), (True, True), (False, False), ("deferred", False)])
def test_only_a_video_made_at_once_asks_for_pictures(video: object, films: bool) -> None:
    assert resolve_options({"video": video}).films is films


def test_a_real_robot_is_in_real_time_and_a_simulator_waits() -> None:
    assert resolve_options({"source": "real"}).realtime is True
    assert resolve_options({"source": "sim"}).realtime is False
    assert resolve_options({"source": "real", "realtime": False}).realtime is False


def test_an_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOTRACE_ROBOT", "arm-2")
    assert resolve_options({"robot": "given"}).robot == "given"
    assert resolve_options({}).robot == "arm-2"


def test_what_an_episode_is_labelled_with_is_looked_for_at_its_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOTRACE_POLICY_VERSION", "from-env")
    monkeypatch.setenv("ROBOTRACE_SEED", "12")
    options = resolve_options({})
    assert (options.policy_version, options.seed) == (None, None)


def test_a_seed_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOTRACE_SEED", "lucky")
    with pytest.raises(ConfigurationError, match="ROBOTRACE_SEED"):
        resolve_options({})


@pytest.mark.parametrize(
    ("variable", "value", "enabled"),
    [
        ("ROBOTRACE_MODE", "disabled", False),
        ("ROBOTRACE_MODE", "offline", True),
        ("ROBOTRACE_ENABLED", "0", False),
        ("ROBOTRACE_ENABLED", "1", True),
    ],
)
def test_the_environment_switches_recording_off(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, enabled: bool
) -> None:
    monkeypatch.setenv(variable, value)
    assert is_enabled(resolve_options({})) is enabled
    assert is_enabled(resolve_options({"enabled": True})) is True
    assert is_enabled(resolve_options({"enabled": False})) is False


def test_a_text_the_wire_has_no_room_for_is_named() -> None:
    with pytest.raises(ConfigurationError, match="policy_version may have 200 characters, this one has 201"):
        resolve_options({"policy_version": "p" * 201})
    with pytest.raises(ConfigurationError, match="robot may have 120"):
        resolve_options({"robot": "r" * 121})
