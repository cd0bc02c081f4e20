from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("numpy")
pytest.importorskip("av")

from robotrace.capture.decisions import (
    Decisions,
    Sampling,
    Series,
    Verdict,
    broken,
    ended,
    interrupted,
    is_wanted,
    raised,
    unfinished,
)
from robotrace.capture.options import EpisodeEnd, Options


class KeptOrNot:
    """A recording, as far as its owner decides about it."""

    steps = 3
    reward_total = 1.5
    duration_s = 0.06

    def __init__(self) -> None:
        self.kept: bool | None = None

    def end(self, status: str, metadata: Any, **_: Any) -> None:
        assert self.kept is None
        self.kept = True

    def discard(self) -> None:
        assert self.kept is None
        self.kept = False


def end_of(*, terminated: bool = True, truncated: bool = False, **info: Any) -> EpisodeEnd:
    return EpisodeEnd(3, 1.5, terminated, truncated, info)


def kept(options: Options, verdicts: list[Verdict]) -> list[bool]:
    """Which of the episodes, one after the other, are kept in the end."""
    decisions = Decisions(options, "test")
    found = []
    for verdict in verdicts:
        start = decisions.start(None, can_render=False)
        recording = KeptOrNot()
        if start is not None:
            decisions.finish(start, recording, verdict, fps=None)  # type: ignore[arg-type]
        found.append(recording.kept is True)
    return found


FAILED = Verdict("failed", False)
DONE = Verdict("ready", True)
UNKNOWN = Verdict("ready", None)
CRASHED = raised(RuntimeError("x"))

# --- outcomes


@pytest.mark.parametrize(
    ("end", "success", "status"),
    [
        (end_of(is_success=True), True, "ready"),
        (end_of(is_success=False), False, "failed"),
        (end_of(), None, "ready"),
        (end_of(terminated=False, truncated=True), None, "ready"),
        (end_of(terminated=False, truncated=True, is_success=False), False, "failed"),
    ],
)
def test_the_success_key_is_the_outcome_and_without_it_nobody_knows(
    end: EpisodeEnd, success: bool | None, status: str
) -> None:
    verdict = ended(Options(), end)
    assert (verdict.success, verdict.status) == (success, status)
    assert ("failure_reason" in verdict.metadata) is (status == "failed")


def test_another_key_may_say_it() -> None:
    assert ended(Options(success_key="goal"), end_of(goal=1)).success is True
    assert ended(Options(success_key="goal"), end_of(is_success=True)).success is None


def test_failure_is_asked_first() -> None:
    options = Options(failure=lambda end: end.terminated and end.steps < 10)
    assert ended(options, end_of(is_success=True)).status == "failed"
    assert ended(options, end_of(terminated=False, truncated=True)).success is None


def test_the_last_info_is_kept_unless_infos_are_refused() -> None:
    assert ended(Options(), end_of(x=1.0, name="a", picture=[1])).metadata["final_info"] == {"x": 1.0, "name": "a"}
    assert "final_info" not in ended(Options(infos=False), end_of(x=1.0)).metadata


def test_an_exception_is_a_failure_with_its_first_and_last_lines() -> None:
    def deep(depth: int) -> None:
        if depth == 0:
            raise ValueError("the gripper is on fire")
        deep(depth - 1)
        deep(depth)  # not the same line again: Python folds those

    try:
        deep(100)
    except ValueError as exc:
        verdict = raised(exc)
    assert (verdict.status, verdict.success) == ("failed", False)
    assert verdict.metadata["failure_reason"] == "ValueError: the gripper is on fire"
    exception = verdict.metadata["exception"]
    assert (exception["type"], exception["message"]) == ("ValueError", "the gripper is on fire")
    assert exception["traceback"][0].startswith("Traceback")
    assert exception["traceback"][-1] == "ValueError: the gripper is on fire"
    assert len(exception["traceback"]) <= 41


def test_a_long_traceback_is_cut_in_its_middle() -> None:
    source = "".join(f"def f{k}(): f{k + 1}()\n" for k in range(60)) + "def f60(): raise ValueError('deep')\n"
    names: dict[str, Any] = {}
    exec(compile(source, "long.py", "exec"), names)
    with pytest.raises(ValueError, match="deep") as caught:
        names["f0"]()
    lines = raised(caught.value).metadata["exception"]["traceback"]
    assert len(lines) == 41
    assert lines[20] == "…"
    assert lines[-1] == "ValueError: deep"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_ending_the_program_says_nothing_of_the_policy(error: BaseException) -> None:
    """T28."""
    verdict = raised(error)
    assert (verdict.status, verdict.success, verdict.partial) == ("failed", None, True)
    assert verdict.metadata["failure_reason"].startswith(type(error).__name__)


def test_an_exception_without_a_text_of_its_own_is_still_told() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise TypeError("no text")

    assert raised(Mute()).metadata["failure_reason"].startswith("Mute")


# --- which are kept


@pytest.mark.parametrize(
    ("only", "wanted"),
    [
        ("all", [True, True, True, True]),
        ("failures", [True, False, False, True]),
        ("successes", [False, True, False, False]),
    ],
)
def test_only_keeps_one_half_and_an_unknown_outcome_is_in_neither(only: Any, wanted: list[bool]) -> None:
    assert kept(Options(only=only, max_per_minute=None), [FAILED, DONE, UNKNOWN, CRASHED]) == wanted


@pytest.mark.parametrize(
    ("keep", "wanted"),
    [("failures", [True, True, False]), ("always", [True, True, True]), ("never", [False, False, False])],
)
def test_keep_partial_is_about_what_did_not_come_to_its_end(keep: Any, wanted: list[bool]) -> None:
    verdicts = [CRASHED, interrupted(None), unfinished()]
    assert [is_wanted(Options(keep_partial=keep), verdict) for verdict in verdicts] == wanted


def test_an_unfinished_episode_is_no_failure_whatever_keep_partial_says() -> None:
    assert not is_wanted(Options(keep_partial="always", only="failures"), unfinished())


def test_a_fault_of_ours_is_no_failure_of_the_policy() -> None:
    assert not is_wanted(Options(only="failures"), broken(ValueError("ours")))
    assert is_wanted(Options(), broken(ValueError("ours")))


# --- limits


def test_with_only_the_limits_count_what_is_kept() -> None:
    options = Options(only="failures", max_episodes=2, max_per_minute=None)
    assert kept(options, [DONE, FAILED, DONE, FAILED, FAILED]) == [False, True, False, True, False]


def test_without_only_the_limits_hold_at_the_start_so_that_the_rest_costs_nothing() -> None:
    decisions = Decisions(Options(max_episodes=1, max_per_minute=None), "test")
    assert decisions.start(None, can_render=True) is not None
    assert decisions.start(None, can_render=True) is None


def test_an_episode_that_was_discarded_does_not_count() -> None:
    options = Options(max_episodes=1, max_per_minute=None)
    assert kept(options, [unfinished(), DONE, DONE]) == [False, True, False]


def test_a_burst_of_failures_is_limited_when_they_end() -> None:
    options = Options(only="failures", max_per_minute=1e-9)
    assert sum(kept(options, [DONE, FAILED] * 30)) == 20


def test_several_open_at_once_do_not_exceed_max_episodes() -> None:
    decisions = Decisions(Options(only="failures", max_episodes=1, max_per_minute=None), "test")
    starts = [decisions.start(None, can_render=False, env_index=index) for index in range(3)]
    recordings = [KeptOrNot() for _ in starts]
    for start, recording in zip(starts, recordings, strict=True):
        assert start is not None
        decisions.finish(start, recording, FAILED, fps=None)  # type: ignore[arg-type]
    assert [recording.kept for recording in recordings] == [True, False, False]


# --- the start


def test_episodes_are_numbered_whether_recorded_or_not() -> None:
    decisions = Decisions(Options(trigger="every(3)", max_per_minute=None), "test")
    starts = [decisions.start(7, can_render=False) for _ in range(7)]
    assert [start.index for start in starts if start is not None] == [0, 3, 6]


def test_video_is_decided_only_where_there_is_something_to_render() -> None:
    asked: list[int] = []

    def trigger(start: Any) -> bool:
        asked.append(start.episode_index)
        return True

    decisions = Decisions(Options(video_trigger=trigger, max_per_minute=None), "test")
    starts = [decisions.start(None, can_render=can_render) for can_render in (False, True)]
    assert [start.video for start in starts if start is not None] == [False, True]
    assert asked == [1]


def test_a_deferred_video_is_of_every_recorded_episode_whether_it_could_be_rendered_now_or_not() -> None:
    decisions = Decisions(Options(video="deferred", every_n_episodes=2, max_per_minute=None), "test")
    starts = [decisions.start(None, can_render=can_render) for can_render in (False, True) * 5]
    recorded = [start for start in starts if start is not None]
    assert [start.index for start in recorded] == [0, 2, 4, 6, 8]
    assert [(start.video, start.deferred) for start in recorded] == [(False, True)] * 5


def test_a_deferred_video_is_of_those_the_trigger_picks_where_there_is_one() -> None:
    decisions = Decisions(Options(video="deferred", video_trigger="every(3)", max_per_minute=None), "test")
    starts = [decisions.start(None, can_render=True) for _ in range(7)]
    assert [start.index for start in starts if start is not None and start.deferred] == [0, 3, 6]
    assert not any(start.video for start in starts if start is not None)


@pytest.mark.parametrize("video", ["auto", True, False])
def test_no_other_video_is_left_for_later(video: Any) -> None:
    start = Decisions(Options(video=video, video_trigger=1), "test").start(None, can_render=True)
    assert start is not None
    assert (start.video, start.deferred) == (video is not False, False)


def test_a_start_keeps_the_labels_of_its_time() -> None:
    decisions = Decisions(Options(), "test")
    decisions.label(policy_version="old", metadata={"stage": 1}, name=None)
    start = decisions.start(None, can_render=False)
    decisions.label(policy_version="new", metadata={"task": "lift"}, name="a")
    later = decisions.start(None, can_render=False)
    assert start is not None
    assert later is not None
    assert start.labels == {"policy_version": "old", "metadata": {"stage": 1}}
    assert later.labels == {"policy_version": "new", "metadata": {"stage": 1, "task": "lift"}, "name": "a"}


@pytest.mark.parametrize("keep_partial", ["failures", "always", "never"])
@pytest.mark.parametrize("only", ["all", "failures", "successes"])
def test_of_a_killed_process_the_episodes_are_kept_that_are_of_an_interrupted_one(keep_partial: Any, only: Any) -> None:
    options = Options(keep_partial=keep_partial, only=only)
    assert options.keeps_killed == is_wanted(options, interrupted(None))


def test_whether_an_episode_may_start_is_told_without_counting_it() -> None:
    asked: list[int] = []
    limited = Decisions(Options(every_n_episodes=2, max_per_minute=0.001, max_episodes=21), "test")
    for index in range(0, 44, 2):
        assert limited.may_start(0) is (index < 40)  # 20 at once
        assert limited.may_start(0) is (index < 40)
        assert (limited.start(None, can_render=False, env_index=0) is not None) is (index < 40)
        assert limited.may_start(0) is False  # every other one
        limited.pass_over(0)
    assert limited.may_start(1) is False
    own = Decisions(Options(trigger=lambda start: bool(asked.append(start.episode_index)), max_episodes=1), "test")
    assert own.may_start()
    assert asked == []
    kept = Decisions(Options(only="failures", every_n_episodes=2, max_per_minute=0.001), "test")
    assert [kept.may_start(), kept.pass_over(), kept.may_start()] == [True, None, False]


def test_by_what_it_is_decided_may_change_and_an_open_episode_is_kept_by_what_it_began_with() -> None:
    train = Sampling(Options(every_n_episodes=2, max_per_minute=None), Series())
    evaluation = Sampling(Options(only="failures", max_episodes=1, max_per_minute=None), Series())
    decisions = Decisions(Options(max_per_minute=None), "test")
    now: list[Sampling | None] = [train]
    decisions.sampled_by = lambda: now[0]
    first = decisions.start(None, can_render=False)
    assert first is not None
    assert decisions.skips_next()
    assert not decisions.may_start()
    now[0] = None
    assert decisions.skips_next()
    assert decisions.start(None, can_render=False) is None
    decisions.pass_over()
    now[0] = evaluation
    recordings = [KeptOrNot() for _ in range(3)]
    other = decisions.start(None, can_render=False)
    assert other is not None
    assert (first.index, other.index) == (0, 0)
    decisions.finish(first, recordings[0], DONE, fps=None)  # type: ignore[arg-type]
    decisions.finish(other, recordings[1], DONE, fps=None)  # type: ignore[arg-type]
    failing = decisions.start(None, can_render=False)
    assert failing is not None
    decisions.finish(failing, recordings[2], FAILED, fps=None)  # type: ignore[arg-type]
    assert [one.kept for one in recordings] == [True, False, True]
    assert decisions.start(None, can_render=False) is None  # one failure was all
    now[0] = train
    assert decisions.start(None, can_render=False) is None  # the second of two
    third = decisions.start(None, can_render=False)
    assert third is not None
    assert third.index == 2


def test_a_renewed_series_counts_its_limit_anew_and_numbers_on() -> None:
    options, series = Options(max_episodes=2, max_per_minute=None), Series()
    decisions = Decisions(options, "test", series)
    starts = [decisions.start(None, can_render=False) for _ in range(3)]
    assert [start is not None for start in starts] == [True, True, False]
    series.renew()
    later = [decisions.start(None, can_render=False) for _ in range(3)]
    assert [None if start is None else start.index for start in later] == [3, 4, None]
    series.renew()
    for start in (*starts, *later):  # what was taken before is given back to nobody
        if start is not None:
            decisions.drop(start, KeptOrNot())  # type: ignore[arg-type]
    assert [decisions.start(None, can_render=False) is not None for _ in range(3)] == [True, True, False]
