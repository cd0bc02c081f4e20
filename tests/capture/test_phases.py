from __future__ import annotations

import pytest

pytest.importorskip("numpy")
pytest.importorskip("av")

from robotrace.capture.phases import check_phases, resolve_phases
from robotrace.capture.triggers import EpisodeStart
from robotrace.errors import ConfigurationError

DEFAULTS = {"every_n_episodes": 10, "max_per_minute": 30.0, "max_episodes": 50, "max_evaluation_episodes": 20}


def test_what_is_not_given_of_a_training_has_the_callbacks_default_and_an_evaluation_is_not_thinned_out() -> None:
    options = resolve_phases({"tags": ["mine"]}, **DEFAULTS)  # type: ignore[arg-type]
    train, evaluation = options.train, options.evaluation
    assert (train.every_n_episodes, train.max_per_minute, train.max_episodes) == (10, 30.0, 50)
    assert (evaluation.every_n_episodes, evaluation.max_per_minute, evaluation.max_episodes) == (1, None, 20)
    assert train.tags == evaluation.tags == ["mine"]


def test_what_is_given_is_of_the_training() -> None:
    given = {"trigger": "cubic", "max_per_minute": None, "max_episodes": 7}
    options = resolve_phases(given, **DEFAULTS)  # type: ignore[arg-type]
    train, evaluation = options.train, options.evaluation
    assert (train.every_n_episodes, train.trigger, train.max_per_minute, train.max_episodes) == (1, "cubic", None, 7)
    assert (evaluation.trigger, evaluation.max_episodes) == (None, 20)
    assert options.given == given


def test_the_trainings_own_version_and_seed_go_before_those_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOTRACE_POLICY_VERSION", "of-this-machine")
    monkeypatch.setenv("ROBOTRACE_SEED", "7")
    monkeypatch.setenv("ROBOTRACE_ROBOT", "arm-2")
    train = resolve_phases({"seed": 3}, **DEFAULTS).train  # type: ignore[arg-type]
    assert (train.policy_version, train.seed, train.robot) == (None, 3, "arm-2")


def test_videos_are_counted_in_recorded_episodes() -> None:
    trigger = resolve_phases({}, **DEFAULTS).train.video_trigger  # type: ignore[arg-type]
    assert callable(trigger)
    assert trigger(EpisodeStart(10, None))  # no cube, and the first that is recorded


def test_phases_are_some_of_those_that_there_are() -> None:
    assert check_phases("train", ("train", "eval")) == ("train",)
    assert check_phases(["eval", "train"], ("train", "eval")) == ("eval", "train")
    for wrong in ([], "test", ["train", "test"]):
        with pytest.raises(ConfigurationError, match="it takes some of 'train', 'eval'"):
            check_phases(wrong, ("train", "eval"))
