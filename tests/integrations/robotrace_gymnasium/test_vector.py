"""Vector environments: what is recorded is what each environment wrote down by itself, and nobody notices us."""

from __future__ import annotations

import copy as copying
import gc
import pickle
import random
import signal
import warnings
import weakref
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from recorded import RecordedEpisode, sealed
from trainings import run, salvaged
from vector_envs import VERSION, DiaryEnv, Freeze, modes, read_diary, vectorize

from robotrace import session
from robotrace.capture.rows import read_rows
from robotrace.capture.tap import attached_recorder
from robotrace.errors import ConfigurationError
from robotrace.plugin import VectorRecorder, attach, detach
from robotrace_gymnasium import RoboTraceRecorder

SETTINGS: dict[str, Any] = {"max_per_minute": None, "keep_partial": "always"}
STEPS = 30


def drive(env: Any, *, steps: int = STEPS, seed: Any = 7, mutate: bool = True) -> list[Any]:
    """Random actions, resets of one's own where nobody else resets; everything the loop saw."""
    rng = np.random.default_rng(0)
    seen: list[Any] = [copying.deepcopy(env.reset(seed=seed))]
    for _ in range(steps):
        actions = rng.uniform(-1, 1, (env.num_envs, 2))
        result = env.step(actions)
        seen.append(copying.deepcopy(result))
        if mutate:
            actions[:] = 0.0  # a policy may do anything to its arrays
        done = result[2] | result[3]
        if done.any() and mode_of(env) == "Disabled":
            options = {"reset_mask": done.copy()}
            seen.append(copying.deepcopy(env.reset(options=options)))
            assert options == {}
    return seen


def mode_of(env: Any) -> str:
    mode = getattr(env.unwrapped, "autoreset_mode", None)
    return modes[0] if mode is None else mode.value


def episodes(index: int | None = None) -> list[RecordedEpisode]:
    assert session.flush()
    found = [episode for episode in sealed() if index in (None, episode.metadata["vector"]["index"])]
    return sorted(found, key=lambda episode: (episode.metadata["vector"]["index"], episode.metadata["episode_index"]))


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (tuple, list)):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_same(first, second)
    elif isinstance(one, np.ndarray) and one.dtype == object:
        assert_same(list(one), list(other))
    else:
        np.testing.assert_array_equal(one, other)
        assert np.asarray(one).dtype == np.asarray(other).dtype


def assert_recorded(episode: RecordedEpisode, truth: list[dict[str, Any]], *, overwritten: bool = False) -> None:
    sensors = episode.arrays("sensors")
    actions = episode.arrays("actions") if len(truth) > 1 else {"action/value": [], "action/_t_ns": []}
    observed = read_rows(sensors, "observation")
    expected = [entry["observation"] for entry in truth]
    if overwritten and "partial" not in episode.metadata:
        # In this process that is seen, and said; in another nobody can tell it.
        assert ("incomplete" in episode.metadata) == (len(observed) == len(truth) - 1)
        observed, expected = observed[: len(truth) - 1], expected[:-1]
    else:
        assert "incomplete" not in episode.metadata
    assert len(observed) == len(expected)
    for row, value in zip(observed, expected, strict=True):
        assert_value(row, value)
    steps = truth[1:]
    np.testing.assert_array_equal(actions["action/value"], [entry["action"] for entry in steps])
    for name in ("reward", "terminated", "truncated") if steps else ():
        np.testing.assert_array_equal(sensors[f"{name}/value"], [entry[name] for entry in steps])
    clock = np.arange(len(truth)) * 40_000_000
    np.testing.assert_array_equal(actions["action/_t_ns"], clock[:-1])
    np.testing.assert_array_equal(sensors.get("reward/_t_ns", []), clock[1:])
    assert len(sensors["wall_clock/value"]) == len(truth)
    outcome = episode.metadata["outcome"]
    assert outcome["steps"] == len(steps)
    if outcome["terminated"] or outcome["truncated"]:
        last = steps[-1]
        assert (outcome["terminated"], outcome["truncated"]) == (last["terminated"], last["truncated"])
        assert outcome["success"] == last["info"]["is_success"]
        assert episode.metadata["final_info"] == last["info"]
        assert outcome["reward_total"] == pytest.approx(sum(entry["reward"] for entry in steps), abs=1e-12)


def assert_value(row: Any, truth: Any) -> None:
    if isinstance(truth, dict):
        assert row.keys() == truth.keys()
        for key in truth:
            assert_value(row[key], truth[key])
    elif isinstance(truth, str):
        assert row == truth
    elif isinstance(row, tuple):
        for part, value in zip(row, truth, strict=True):
            assert_value(part, value)
    else:
        np.testing.assert_array_equal(np.asarray(row, np.float64), np.asarray(truth, np.float64))


def final_is_overwritten(how: str, mode: str) -> bool:
    """Of an env that reuses its buffer: Gymnasium itself shows the next episode's first observation in its place."""
    return mode == "SameStep" and (how == "async" or VERSION < (1, 0))


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("kind", ["box", "dict", "text"])
@pytest.mark.parametrize("mode", modes)
@pytest.mark.parametrize("how", ["sync", "async"])
def test_t6_t15_every_stream_is_what_the_env_inside_wrote_down(
    how: str, mode: str, kind: str, copy: bool, tmp_path: Path
) -> None:
    env = vectorize(tmp_path, 3, how=how, mode=mode, copy=copy, kind=kind)
    recorder = RoboTraceRecorder(env, **SETTINGS)
    drive(recorder)
    recorder.close()
    for index in range(3):
        truth, found = read_diary(tmp_path, index), episodes(index)
        if mode == "NextStep" and len(truth[-1]) == 1:
            assert len(found) in (len(truth), len(truth) - 1)
        assert [episode.metadata["episode_index"] for episode in found] == list(range(len(truth)))[: len(found)]
        assert len(found) >= 3
        for episode, entries in zip(found, truth, strict=False):
            assert_recorded(episode, entries, overwritten=final_is_overwritten(how, mode))


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("mode", modes)
@pytest.mark.parametrize("kind", ["box", "dict"])
@pytest.mark.parametrize("tapped", [True, False])
def test_the_loop_sees_what_it_sees_without_us(how: str, mode: str, kind: str, tapped: bool, tmp_path: Path) -> None:
    streams = random.getstate(), np.random.get_state()
    bare = vectorize(tmp_path / "bare", 2, how=how, mode=mode, kind=kind)
    expected = drive(bare)
    ours = vectorize(tmp_path / "ours", 2, how=how, mode=mode, kind=kind)
    env = attach(ours, **SETTINGS) if tapped else RoboTraceRecorder(ours, **SETTINGS)
    assert_same(drive(env), expected)
    if how == "sync":
        for one, other in zip(bare.envs, ours.envs, strict=True):
            assert one.np_random.bit_generator.state == other.np_random.bit_generator.state
    assert random.getstate() == streams[0]
    assert_same(np.random.get_state()[1], streams[1][1])
    bare.close()
    env.close()
    assert len(episodes()) > 4


def test_seeds_are_those_of_each_env_and_reproduce_names_them(tmp_path: Path) -> None:
    env = RoboTraceRecorder(vectorize(tmp_path, 2), **SETTINGS)
    drive(env, seed=40)
    drive(env, seed=[5, None])
    env.close()
    for index in range(2):
        truth = read_diary(tmp_path, index)
        for episode, entries in zip(episodes(index), truth, strict=False):
            assert episode.create.get("seed") == entries[0]["seed"]
            reproduce = episode.metadata["reproduce"]
            if entries[0]["seed"] is None:
                assert reproduce["resets_since_seed"] > 0
                assert reproduce["generator_state"]["bit_generator"] == "PCG64"
            else:
                assert (reproduce["seed"], reproduce["resets_since_seed"]) == (entries[0]["seed"], 0)


def test_an_env_in_another_process_can_be_reproduced_and_says_when_not() -> None:
    # What make_vec of Gymnasium 0.29 gives is of no public class; attach takes anything.
    recorder = attach(gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="async"), **SETTINGS)
    recorder.reset(seed=11)
    for _ in range(40):
        recorder.step(np.zeros(2, int))
    recorder.close()
    first, second, *_ = episodes(1)
    assert first.create["seed"] == 12
    assert first.create["name"] == "CartPole-v1 env 1 #0"
    assert first.metadata["reproduce"]["reproducible"] is True
    assert "num_envs" not in first.metadata["reproduce"]["env_spec"]["kwargs"]
    if VERSION < (1, 0):  # resets within the step
        assert second.metadata["reproduce"]["reproducible"] is False
        assert "another process" in second.metadata["reproduce"]["reason"]
    else:
        assert second.metadata["reproduce"]["reproducible"] is True
        assert second.metadata["reproduce"]["generator_state"]["bit_generator"] == "PCG64"


def test_t13_a_vector_env_of_its_own_kind_is_recorded_and_claims_nothing() -> None:
    if VERSION < (1, 0):
        pytest.skip("Gymnasium 0.29 has no make_vec of that kind")
    env = gym.make_vec("CartPole-v1", num_envs=3, vectorization_mode="vector_entry_point")
    recorder = RoboTraceRecorder(env, **SETTINGS)
    seen = [recorder.reset(seed=1)[0]]
    flags = [np.zeros(3, bool)]
    for _ in range(40):
        result = recorder.step(np.ones(3, int))
        seen.append(result[0])
        flags.append(result[2] | result[3])
    recorder.close()
    first = episodes(2)[0]
    length = int(np.argmax([flag[2] for flag in flags]))
    np.testing.assert_array_equal(first.arrays("sensors")["observation/value"], [row[2] for row in seen[: length + 1]])
    assert first.metadata["clock"] == "tau"
    assert first.metadata["reproduce"]["reproducible"] is False
    assert first.metadata["vector"] == {"index": 2, "num_envs": 3, "autoreset_mode": "NextStep"}


def test_t5_the_wrapper_forwards_what_scripts_call(tmp_path: Path) -> None:
    env = RoboTraceRecorder(vectorize(tmp_path, 2), **SETTINGS)
    assert isinstance(env, gym.vector.VectorEnv)
    assert isinstance(env.recorder, VectorRecorder)
    assert (env.num_envs, env.single_action_space.shape) == (2, (2,))
    assert env.get_attr("index") == (0, 1)
    env.set_attr("fails_at", [None, 99])
    assert env.call("get_wrapper_attr", "fails_at") == (None, 99) if VERSION >= (1, 0) else True
    assert len(env.envs) == 2
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = env.no_such_thing
    env.close()


COPIES = {
    "deepcopy": copying.deepcopy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
    "cloudpickle": lambda env: cloudpickle.loads(cloudpickle.dumps(env)),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("tapped", [True, False])
def test_t3_copies_work_and_the_envs_inside_them_are_not_ours(copied: Any, tapped: bool) -> None:
    inner = gym.vector.SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2)
    inner.env_fns = ()  # lambdas
    env = attach(inner, **SETTINGS) if tapped else RoboTraceRecorder(inner, **SETTINGS)
    env.reset(seed=1)
    twin = copied(env)
    assert [attached_recorder(each) for each in twin.envs] == [None, None]
    twin.reset(seed=2)
    twin.step(np.zeros(2, int))
    env.close()
    twin.close()
    assert len(episodes()) == (2 if tapped else 4)


def test_attach_leaves_the_object_what_it_is_and_detach_restores_it(tmp_path: Path) -> None:
    env = vectorize(tmp_path, 2)
    kind, before = type(env), set(vars(env))
    assert attach(env, **SETTINGS) is env
    assert attach(env, policy_version="again") is env
    drive(env)
    assert type(env) is kind
    detach(env)
    assert set(vars(env)) >= before
    assert not {"step", "reset", "close"} & set(vars(env))
    assert all("reset" not in vars(inner) for inner in env.envs)
    recorded = len(episodes())
    drive(env)
    assert len(episodes()) == recorded > 4
    assert {episode.create["policy_version"] for episode in episodes()} == {"again"}


@pytest.mark.parametrize("tapped", [True, False])
def test_steps_in_two_halves_are_steps(tapped: bool, tmp_path: Path) -> None:
    inner = vectorize(tmp_path, 2, how="async")
    env = attach(inner, **SETTINGS) if tapped else RoboTraceRecorder(inner, **SETTINGS)
    rng = np.random.default_rng(0)
    env.reset_async(seed=3)
    env.reset_wait()
    for _ in range(STEPS):
        env.step_async(rng.uniform(-1, 1, (2, 2)))
        env.step_wait()
    env.close()
    for index in range(2):
        found, truth = episodes(index), read_diary(tmp_path, index)
        assert len(found) >= 3
        for episode, entries in zip(found, truth, strict=False):
            assert_recorded(episode, entries, overwritten=final_is_overwritten("async", modes[0]))


def test_t10_the_dummy_env_of_async_leaves_no_episode() -> None:
    env = gym.vector.AsyncVectorEnv([lambda: RoboTraceRecorder(gym.make("CartPole-v1"), **SETTINGS)] * 2)
    env.close()
    assert session.flush()
    assert sealed() == []


@pytest.mark.parametrize("mode", [mode for mode in modes if mode != "Disabled"])
def test_t12_an_env_that_repeats_its_end_makes_no_phantom_episodes(mode: str, tmp_path: Path) -> None:
    functions = [lambda i=i: Freeze(DiaryEnv(str(tmp_path), i)) for i in range(2)]
    chosen = {} if len(modes) == 1 else {"autoreset_mode": mode}
    env = RoboTraceRecorder(gym.vector.SyncVectorEnv(functions, **chosen), max_per_minute=60.0)
    for _ in range(3):
        drive(env, steps=60)
        env.reset(options={"new": True})
    env.close()
    for index in range(2):
        truth = [entries for entries in read_diary(tmp_path, index) if len(entries) > 1]
        assert [len(entries) for entries in truth] == [
            episode.metadata["outcome"]["steps"] + 1 for episode in episodes(index)
        ]


@pytest.mark.parametrize("how", ["sync", "async"])
def test_t20_the_env_that_raised_has_failed_and_the_others_are_unfinished(how: str, tmp_path: Path) -> None:
    env = RoboTraceRecorder(vectorize(tmp_path, 3, how=how), **SETTINGS)
    env.reset(seed=1)
    env.set_attr("fails_at", [None, 1, None])
    env.step(np.zeros((3, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium's own account of it
        with pytest.raises(RuntimeError, match="gripper 1"):
            env.step(np.zeros((3, 2)))
        env.close(**({} if how == "sync" else {"terminate": True}))
    status = {episode.metadata["vector"]["index"]: episode.finalize["status"] for episode in episodes()}
    if how == "sync":
        assert status == {0: "ready", 1: "failed", 2: "ready"}
    else:
        assert status == dict.fromkeys(range(3), "failed")
    assert episodes(1)[0].metadata["exception"]["message"].endswith("gripper 1 is on fire")


def test_one_record_per_episode_when_the_envs_inside_are_recorded_too(tmp_path: Path) -> None:
    functions = [lambda i=i: RoboTraceRecorder(DiaryEnv(str(tmp_path), i), **SETTINGS) for i in range(2)]
    env = RoboTraceRecorder(gym.vector.SyncVectorEnv(functions), **SETTINGS)
    drive(env)
    env.close()
    assert session.flush()
    assert {len(read_diary(tmp_path, i)) - len(episodes(i)) for i in range(2)} <= {0, 1}
    assert len(sealed()) == len(episodes())


def test_t22_what_is_not_sampled_costs_no_picture_and_every_env_counts_for_itself(tmp_path: Path) -> None:
    env = RoboTraceRecorder(vectorize(tmp_path, 3, render_mode="rgb_array"), every_n_episodes=3, **SETTINGS)
    rendered: list[int] = []
    for inner in env.envs:
        show = inner.render
        inner.render = lambda i=inner.index, show=show: (rendered.append(i), show())[1]
    drive(env, steps=50)
    env.close()
    assert {episode.metadata["episode_index"] % 3 for episode in episodes()} == {0}
    first = len(read_diary(tmp_path, 0)[0])
    assert rendered[:first] == [0] * first
    assert set(rendered) == {0}


@pytest.mark.parametrize("mode", modes)
def test_the_video_is_of_the_first_envs_and_has_the_last_frame_in_every_mode(mode: str, tmp_path: Path) -> None:
    from gymnasium_envs import read_barcode

    env = vectorize(tmp_path, 3, mode=mode, render_mode="rgb_array")
    recorder = RoboTraceRecorder(env, video_trigger=1, video_envs=2, **SETTINGS)
    drive(recorder, steps=20)
    recorder.close()
    for index in range(2):
        for episode, entries in zip(episodes(index), read_diary(tmp_path, index), strict=False):
            frames, times = episode.frames()
            assert [read_barcode(frame) for frame in frames] == [entry["shown"] for entry in entries]
            np.testing.assert_allclose(times, np.arange(len(entries)) * 0.04, atol=1e-6)
    assert not any((episode.folder / "video.mp4").exists() for episode in episodes(2))


def test_asked_for_video_of_envs_in_other_processes_is_refused_in_the_record_and_once_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = RoboTraceRecorder(vectorize(tmp_path, 2, how="async", render_mode="rgb_array"), video=True, **SETTINGS)
    drive(recorder)
    recorder.close()
    assert all("not in this process" in episode.metadata["incomplete"]["video"] for episode in episodes())
    assert sum("not in this process" in record.message for record in caplog.records) == 1


def test_video_that_cannot_be_is_one_error_before_anything_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="video=True needs environments made with render_mode='rgb_array'"):
        RoboTraceRecorder(vectorize(tmp_path, 2), video=True)


def test_image_observations_become_video_and_infos_streams(tmp_path: Path) -> None:
    env = vectorize(tmp_path, 2, kind="image")
    recorder = RoboTraceRecorder(env, images="drop", infos=["count"], **SETTINGS)
    drive(recorder)
    recorder.close()
    for episode, entries in zip(episodes(0), read_diary(tmp_path, 0), strict=False):
        sensors = episode.arrays("sensors")
        assert "observation/value" not in sensors
        assert sensors["info.count/value"].tolist() == [entry["info"]["count"] for entry in entries[1:]]


class Doubled(getattr(gym.vector, "VectorWrapper", object)):
    """A wrapper of a vector as people write them, last observations included."""

    def reset(self, **kwargs: Any) -> Any:
        observations, infos = self.env.reset(**kwargs)
        return observations * np.float32(2), infos

    def step(self, actions: Any) -> Any:
        observations, *others, infos = self.env.step(actions)
        for index in np.flatnonzero(infos.get("_final_obs", ())):
            infos["final_obs"][index] = infos["final_obs"][index] * np.float32(2)
        return observations * np.float32(2), *others, infos


@pytest.mark.skipif("SameStep" not in modes or VERSION < (1, 1), reason="last observations are in the infos since")
@pytest.mark.parametrize("reuses", [True, False])
def test_the_last_observation_is_as_the_vectors_wrappers_have_made_it(reuses: bool, tmp_path: Path) -> None:
    env = vectorize(tmp_path, 2, mode="SameStep")
    if not reuses:
        for inner in env.envs:
            observe = inner._observe
            inner._observe = lambda observe=observe: observe().copy()
    recorder = RoboTraceRecorder(Doubled(env), **SETTINGS)
    drive(recorder)
    recorder.close()
    for index in range(2):
        for episode, entries in zip(episodes(index), read_diary(tmp_path, index), strict=False):
            observed = episode.arrays("sensors")["observation/value"]
            expected = [np.asarray(entry["observation"], np.float32) * 2 for entry in entries]
            # Made of a buffer that was used again by then, nobody can tell what it was.
            lost = reuses and "partial" not in episode.metadata
            assert ("incomplete" in episode.metadata) == lost
            np.testing.assert_array_equal(observed, expected[:-1] if lost else expected)


@pytest.mark.skipif("SameStep" not in modes or VERSION < (1, 1), reason="last observations are in the infos since")
def test_the_last_observation_is_found_in_a_list_of_infos(tmp_path: Path) -> None:
    env = vectorize(tmp_path, 2, mode="SameStep")
    recorder = RoboTraceRecorder(gym.wrappers.vector.DictInfoToList(env), **SETTINGS)
    drive(recorder)
    recorder.close()
    for index in range(2):
        for episode, entries in zip(episodes(index), read_diary(tmp_path, index), strict=False):
            assert_recorded(episode, entries)


class Parametrised(DiaryEnv):
    def __init__(self, scale: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)


def test_arrays_among_the_envs_arguments_cost_no_episode(tmp_path: Path) -> None:
    # Mechanism: whether two specs are alike is asked with ==, which for arrays is no yes or no.
    spec = gym.envs.registration.EnvSpec("Parametrised-v0", entry_point=Parametrised)
    functions = [
        lambda i=i: gym.make(spec, scale=np.arange(3.0), diary=str(tmp_path), index=i, disable_env_checker=True)
        for i in range(2)
    ]
    recorder = RoboTraceRecorder(gym.vector.SyncVectorEnv(functions), **SETTINGS)
    drive(recorder, steps=5)
    recorder.close()
    assert {episode.metadata["vector"]["index"] for episode in episodes()} == {0, 1}


def test_env_indices_are_those_recorded(tmp_path: Path) -> None:
    recorder = RoboTraceRecorder(vectorize(tmp_path, 4), env_indices=[3, 1], **SETTINGS)
    drive(recorder)
    recorder.close()
    assert {episode.metadata["vector"]["index"] for episode in episodes()} == {1, 3}
    for index in (1, 3):
        for episode, entries in zip(episodes(index), read_diary(tmp_path, index), strict=False):
            assert_recorded(episode, entries, overwritten=final_is_overwritten("sync", modes[0]))


def test_a_reset_in_the_middle_cuts_all_and_close_ends_what_is_open(tmp_path: Path) -> None:
    recorder = RoboTraceRecorder(vectorize(tmp_path, 2), **SETTINGS)
    recorder.reset(seed=1)
    recorder.step(np.zeros((2, 2)))
    recorder.reset(seed=2)
    recorder.close()
    assert [episode.metadata["outcome"]["steps"] for episode in episodes(0)] == [1, 0]
    assert all(episode.metadata["partial"] for episode in episodes())


def test_close_without_reset_and_disabled_leave_no_trace(tmp_path: Path) -> None:
    RoboTraceRecorder(vectorize(tmp_path, 2), **SETTINGS).close()
    env = vectorize(tmp_path, 2)
    assert RoboTraceRecorder(env, enabled=False) is env
    assert attach(env, enabled=False) is env
    env.close()
    assert episodes() == []


def test_sigkill_loses_no_episode_that_has_ended_and_of_an_open_one_what_was_not_handed_over(tmp_path: Path) -> None:
    body = f"""
from pathlib import Path
from robotrace.capture import slabs
from vector_envs import vectorize
slabs._MAX_ROWS = slabs._MIN_ROWS = 4
env = RoboTraceRecorder(vectorize(Path({str(tmp_path)!r}), 3), max_per_minute=None)
env.reset(seed=7)
rng = np.random.default_rng(0)
for _ in range(25):
    env.step(rng.uniform(-1, 1, (3, 2)))
kill()
"""
    result = run(body)
    assert result.returncode == -signal.SIGKILL, result.stderr
    salvaged()
    for index in range(3):
        truth = [entries for entries in read_diary(tmp_path, index) if len(entries) > 1]
        found = {episode.metadata["episode_index"]: episode for episode in episodes(index)}
        overwritten = final_is_overwritten("sync", modes[0])
        whole = [
            number for number, entries in enumerate(truth) if entries[-1]["terminated"] or entries[-1]["truncated"]
        ]
        assert len(whole) >= 3
        for number in whole:
            assert_recorded(found[number], truth[number], overwritten=overwritten)
        for number in found.keys() - set(whole):
            assert found[number].metadata["salvaged"] is True


def test_a_vector_that_is_dropped_is_freed_with_its_episodes_discarded(tmp_path: Path) -> None:
    env = RoboTraceRecorder(vectorize(tmp_path, 2), **{**SETTINGS, "keep_partial": "failures"})
    env.reset(seed=1)
    env.step(np.zeros((2, 2)))
    alive = weakref.ref(env.env), weakref.ref(env.recorder)
    del env
    gc.collect()
    assert [reference() for reference in alive] == [None, None]
    assert episodes() == []
