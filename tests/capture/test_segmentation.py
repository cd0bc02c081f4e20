"""Episodes cut from done flags: against scripted environments, and against a slow simulation of each autoreset mode."""

from __future__ import annotations

import enum
import types
from typing import Any

import pytest

from robotrace.capture.segmentation import Autoreset, Changes, Segmentation, reset_mask, vector_autoreset

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402

NEXT, SAME, DISABLED = Autoreset.NEXT_STEP, Autoreset.SAME_STEP, Autoreset.DISABLED


def reset_all(count: int, mode: Autoreset) -> Segmentation:
    segmentation = Segmentation(count, mode)
    segmentation.reset()
    return segmentation


def test_nothing_has_begun_before_the_first_reset() -> None:
    segmentation = Segmentation(2, NEXT)
    assert not segmentation.steady
    assert segmentation.step([False, True]) == Changes(idle=(0, 1))


def test_t11_next_step_the_row_after_the_last_is_a_beginning_and_no_step() -> None:
    segmentation = reset_all(2, NEXT)
    assert segmentation.steady
    assert segmentation.step([True, False]) == Changes(ended=(0,))
    assert not segmentation.steady
    assert segmentation.step([False, False]) == Changes(begun=(0,), idle=(0,))
    assert segmentation.steady
    assert segmentation.step([True, True]) == Changes(ended=(0, 1))


def test_same_step_the_last_row_is_a_beginning_too() -> None:
    segmentation = reset_all(2, SAME)
    assert segmentation.step([False, True]) == Changes(ended=(1,), begun=(1,))
    assert segmentation.steady
    assert segmentation.step([False, True]) == Changes(ended=(1,), begun=(1,))


def test_disabled_an_ended_one_waits_whatever_its_flags_say_until_it_is_reset() -> None:
    segmentation = reset_all(2, DISABLED)
    assert segmentation.step([True, False]) == Changes(ended=(0,))
    assert segmentation.step([True, False]) == Changes(idle=(0,))
    assert segmentation.reset([True, False]) == Changes(begun=(0,), idle=(0, 1))
    assert segmentation.step([False, True]) == Changes(ended=(1,))


@pytest.mark.parametrize("mode", list(Autoreset))
def test_a_reset_in_the_middle_cuts_the_running_ones_only(mode: Autoreset) -> None:
    segmentation = reset_all(3, mode)
    segmentation.step([False, False, True])
    changes = segmentation.reset([True, False, True])
    assert changes.cut == ((0, 2) if mode is SAME else (0,))
    assert changes.begun == (0, 2)


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=200, deadline=None, derandomize=True)
def test_the_rows_are_those_of_a_vector_env_that_is_simulated_env_by_env(data: st.DataObject) -> None:
    """Each simulated env names its rows itself: (episode, row within it), as the env inside a vector env would know."""
    mode = data.draw(st.sampled_from(Autoreset))
    count = data.draw(st.integers(1, 4))
    segmentation = Segmentation(count, mode)
    envs = [_Simulated(mode) for _ in range(count)]
    recorded: list[list[list[int]]] = [[] for _ in envs]
    running = [False] * count
    ends: list[list[int]] = [[] for _ in envs]
    for _ in range(data.draw(st.integers(1, 25))):
        if data.draw(st.integers(0, 6)) == 0:
            mask = data.draw(st.none() | st.lists(st.booleans(), min_size=count, max_size=count))
            changes = segmentation.reset(mask)
            rows = [env.reset() if mask is None or mask[i] else None for i, env in enumerate(envs)]
            steps: set[int] = set()
        else:
            lengths = [data.draw(st.integers(1, 4)) for _ in envs]
            answers = [env.step(length) for env, length in zip(envs, lengths, strict=True)]
            changes = segmentation.step([done for _, done, _ in answers])
            rows = [row for row, _, _ in answers]
            steps = set(range(count)) - set(changes.idle)
        for i in range(count):
            if i in steps:
                assert running[i]
                final = answers[i][2] if i in changes.ended and mode is SAME else rows[i]
                recorded[i][-1].append(final)
            if i in changes.ended:
                ends[i].append(len(recorded[i]) - 1)
                running[i] = False
            if i in changes.begun:
                recorded[i].append([rows[i]])
                running[i] = True
        assert segmentation.steady == all(running)
    for env, episodes, ended in zip(envs, recorded, ends, strict=True):
        assert episodes == env.episodes
        assert ended == env.ended


class _Simulated:
    """One env with the autoreset of a vector env around it; its observation is a number nobody has seen before."""

    def __init__(self, mode: Autoreset) -> None:
        self.mode = mode
        self.episodes: list[list[int]] = []
        self.ended: list[int] = []
        self.over = True
        self.next = 0

    def observe(self) -> int:
        self.next += 1
        return self.next

    def reset(self) -> int:
        self.over = False
        self.episodes.append([self.observe()])
        return self.episodes[-1][0]

    def step(self, length: int) -> tuple[int | None, bool, int | None]:
        """(what the vector env shows, done, what it shows as the final observation)"""
        if not self.episodes or (self.over and self.mode is DISABLED):
            return None, True, None
        if self.over:
            return self.reset(), False, None
        self.episodes[-1].append(self.observe())
        last = self.episodes[-1][-1]
        if len(self.episodes[-1]) <= length:
            return last, False, None
        self.over = True
        self.ended.append(len(self.episodes) - 1)
        return (self.reset(), True, last) if self.mode is SAME else (last, True, None)


class _Mode(enum.Enum):
    SAME_STEP = "SameStep"


def env_with(**attributes: Any) -> Any:
    return types.SimpleNamespace(**attributes)


@pytest.mark.parametrize("said", ["SameStep", "SAME_STEP", "same_step", "AutoresetMode.SAME_STEP", _Mode.SAME_STEP])
def test_t7_what_the_env_says_of_itself_goes_before_the_metadata_it_shares(said: Any) -> None:
    env = env_with(autoreset_mode=said, metadata={"autoreset_mode": "NextStep"})
    assert vector_autoreset(env) is SAME
    assert vector_autoreset(env_with(unwrapped=env, metadata=env.metadata)) is SAME


def test_the_metadata_tell_of_an_env_that_has_no_attribute() -> None:
    assert vector_autoreset(env_with(metadata={"autoreset_mode": "Disabled"})) is DISABLED


def test_an_env_that_says_nothing_resets_in_the_same_step_as_batched_simulators_do() -> None:
    assert vector_autoreset(env_with(metadata={"autoreset_mode": 3})) is SAME


def test_gymnasiums_own_go_by_its_version_and_what_is_made_from_its_bases_does_not() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    ours = type("Ours", (gymnasium.vector.SyncVectorEnv,), {})
    theirs = type("Theirs", (gymnasium.Env,), {"num_envs": 4})
    assert vector_autoreset(ours.__new__(ours)) is (SAME if gymnasium.__version__.startswith("0.") else NEXT)
    assert vector_autoreset(theirs()) is SAME
    mixed = type("Mixed", (gymnasium.Env, gymnasium.utils.EzPickle), {"num_envs": 4})
    assert vector_autoreset(mixed()) is SAME


def test_t8_the_masks_of_both_worlds_are_copied_before_the_env_takes_them_away() -> None:
    mask = [True, False, True]
    found = reset_mask({"reset_mask": mask}, 3)
    mask[1] = True
    assert found == [True, False, True]
    assert reset_mask({"env_idx": [2]}, 3) == [False, False, True]
    assert reset_mask({"env_idx": 0}, 2) == [True, False]
    assert reset_mask({"low": -1.0}, 3) is None
    assert reset_mask(None, 3) is None


def test_masks_come_as_arrays_of_any_library() -> None:
    numpy = pytest.importorskip("numpy")
    assert reset_mask({"reset_mask": numpy.array([False, True])}, 2) == [False, True]
    assert reset_mask({"env_idx": numpy.array([1])}, 2) == [False, True]
