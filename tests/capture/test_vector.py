"""The recorder of a vector, called as a wrapper calls it: batched simulators, odd batches, ends that are not given."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("gymnasium")
import gymnasium as gym
import numpy as np
from recorded import RecordedEpisode, sealed
from vector_envs import BatchedSim, TensorLike

from robotrace import session
from robotrace.capture.batches import (
    MISSING,
    final_info,
    final_observation,
    info_of,
    on_host,
    row_of,
    same_rows,
)
from robotrace.errors import ConfigurationError
from robotrace.plugin import attach, detach, new_vector_recorder, resolve_options
from robotrace_gymnasium import RoboTraceRecorder

SETTINGS: dict[str, Any] = {"max_per_minute": None, "keep_partial": "always", "video": False}


@pytest.fixture(autouse=True)
def fresh_session() -> Any:
    session.reset()
    yield
    session.reset()


def episodes(index: int | None = None) -> list[RecordedEpisode]:
    assert session.flush()
    found = [episode for episode in sealed() if index in (None, episode.metadata["vector"]["index"])]
    return sorted(found, key=lambda episode: (episode.metadata["vector"]["index"], episode.metadata["episode_index"]))


class Script(gym.vector.VectorEnv):
    """A vector env whose results are given to it."""

    metadata: dict[str, Any] = {"render_fps": 10, "autoreset_mode": "SameStep"}  # noqa: RUF012 - Gymnasium's form

    def __init__(self, *results: Any, count: int = 2, space: Any = None, mode: str = "SameStep") -> None:
        self.num_envs = count
        self.metadata = {"render_fps": 10, "autoreset_mode": mode}
        self.single_observation_space = gym.spaces.Box(-9, 9, (1,), np.float32) if space is None else space
        self.single_action_space = gym.spaces.Discrete(3)
        self.observation_space = self.action_space = None
        self.results = list(results)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return self.results.pop(0), {}

    def step(self, actions: Any) -> Any:
        return self.results.pop(0)

    def close(self, **kwargs: Any) -> None: ...


def row(*values: float, dtype: Any = np.float32) -> np.ndarray:
    return np.array(values, dtype).reshape(-1, 1)


def flags(*values: bool) -> np.ndarray:
    return np.array(values, bool)


NO = flags(False, False)


def play(env: Script, **options: Any) -> list[RecordedEpisode]:
    recorder = RoboTraceRecorder(env, **{**SETTINGS, **options})
    recorder.reset()
    while env.results:
        recorder.step(np.array([1, 2]))
    recorder.close()
    return episodes()


@pytest.mark.parametrize("infos", ["auto", True], ids=["slabs", "one by one"])
def test_a_last_observation_nobody_gives_is_missing_and_shifts_nothing(infos: Any) -> None:
    env = Script(
        row(0, 10),
        (row(1, 11), np.array([1.0, 2.0]), NO, NO, {}),
        (row(50, 12), np.array([3.0, 4.0]), flags(True, False), NO, {}),
        (row(51, 13), np.array([5.0, 6.0]), NO, NO, {}),
    )
    first, second, other = play(env, infos=infos)
    sensors = first.arrays("sensors")
    assert sensors["observation/value"].ravel().tolist() == [0, 1]
    assert sensors["reward/value"].tolist() == [1, 3]
    assert sensors["reward/_t_ns"].tolist() == [100_000_000, 200_000_000]
    assert len(sensors["wall_clock/value"]) == 3
    assert "observation/value" in first.metadata["incomplete"]
    assert second.arrays("sensors")["observation/value"].ravel().tolist() == [50, 51]
    assert other.arrays("sensors")["observation/value"].ravel().tolist() == [10, 11, 12, 13]
    assert "incomplete" not in other.metadata


@pytest.mark.parametrize("key", ["final_obs", "final_observation", "terminal"])
def test_t9_the_last_observation_is_the_one_its_mask_says(key: str) -> None:
    final = np.full(2, None, object)
    final[0], final[1] = np.array([7.0]), np.array([99.0])  # float64, where the batch is float32
    infos = {key: final, f"_{key}": flags(True, False), "final_info": {"is_success": flags(True, True)}}
    infos["_final_info"] = flags(True, False)
    env = Script(row(0, 10), (row(1, 11), np.ones(2), flags(True, True), NO, infos))
    ended, _, missing, _ = play(env)
    sensors = ended.arrays("sensors")
    assert sensors["observation/value"].ravel().tolist() == [0, 7]
    assert sensors["observation/value"].dtype == np.float32
    assert ended.metadata["outcome"]["success"] is True
    assert missing.arrays("sensors")["observation/value"].ravel().tolist() == [10]
    assert missing.metadata["outcome"]["success"] is None


@pytest.mark.parametrize("infos", ["auto", True], ids=["slabs", "one by one"])
def test_a_change_of_dtype_goes_on_as_another_segment(infos: Any) -> None:
    steps = [(row(i, 10 + i), np.ones(2), NO, NO, {}) for i in range(1, 12)]
    steps += [(row(i, 10 + i, dtype=np.float64), np.ones(2), NO, NO, {}) for i in range(12, 15)]
    first, _ = play(Script(row(0, 10), *steps), infos=infos)
    sensors = first.arrays("sensors")
    assert sensors["observation/value"].ravel().tolist() == list(range(12))
    assert sensors["observation#1/value"].ravel().tolist() == [12, 13, 14]
    assert sensors["observation#1/value"].dtype == np.float64
    assert sensors["observation#1/_t_ns"].tolist() == [1_200_000_000, 1_300_000_000, 1_400_000_000]
    assert len(sensors["reward/value"]) == len(first.arrays("actions")["action/value"]) == 14
    assert "observation#1" in first.metadata["segments"]


def test_blocks_in_between_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from robotrace.capture import slabs

    monkeypatch.setattr(slabs, "_MAX_ROWS", 3)
    monkeypatch.setattr(slabs, "_MIN_ROWS", 2)
    count = 23
    steps = [(row(i, 100 + i), np.array([i, 2.0 * i]), NO, NO, {}) for i in range(1, count)]
    final = np.full(2, None, object)
    final[0] = np.array([count], np.float32)
    info = {"final_obs": final, "_final_obs": flags(True, False)}
    env = Script(
        row(0, 100), *steps, (row(-1, 100 + count), np.array([count, 2.0 * count]), flags(True, False), NO, info)
    )
    first, after, other = play(env)
    for episode, observed, reward in ((first, 0, 1), (other, 100, 2)):
        sensors = episode.arrays("sensors")
        assert sensors["observation/value"].ravel().tolist() == [observed + i for i in range(count + 1)]
        assert sensors["reward/value"].tolist() == [reward * i for i in range(1, count + 1)]
        assert episode.metadata["outcome"]["reward_total"] == reward * count * (count + 1) / 2
        assert episode.arrays("actions")["action/value"].tolist() == [reward] * count
    assert after.arrays("sensors")["observation/value"].ravel().tolist() == [-1]


def test_an_episode_after_a_block_that_ended_a_row_before_all_did_has_its_own_first_observation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Mechanism: with a new slab's first row the last episode ended, and that row passed for the next one's, too.
    from robotrace.capture import slabs

    monkeypatch.setattr(slabs, "_BLOCK_NS", 0)  # every row is a block, as in an env that takes a second a step
    env = Script(
        row(1, 2),
        *((row(3 + at, 3 + at), np.ones(2), flags(at == 1, at == 1), NO, {}) for at in range(2)),
        *((row(10 + at, 20 + at), np.ones(2), NO, NO, {}) for at in range(3)),
        mode="NextStep",
    )
    found = play(env)
    assert [episode.arrays("sensors")["observation/value"].ravel().tolist() for episode in found] == [
        [1, 3, 4],
        [10, 11, 12],
        [2, 3, 4],
        [20, 21, 22],
    ]


def test_the_first_slab_grows_and_hands_nothing_over_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # Mechanism: handed over at its eighth row, 64 episodes are opened and written in the middle of the first steps.
    from robotrace.capture import slabs

    monkeypatch.setattr(slabs, "_BLOCK_NS", 10**15)
    handed: list[int] = []
    append_rows = slabs.Recording.append_rows
    monkeypatch.setattr(
        slabs.Recording, "append_rows", lambda self, *a, **k: (handed.append(k["steps"]), append_rows(self, *a, **k))[1]
    )
    steps = [(row(i, 100 + i), np.array([i, 2.0 * i]), NO, NO, {}) for i in range(1, 50)]
    first, other = play(Script(row(0, 100), *steps))
    assert handed == [49, 49]
    assert first.arrays("sensors")["observation/value"].ravel().tolist() == list(range(50))
    assert other.arrays("sensors")["reward/value"].tolist() == [2 * i for i in range(1, 50)]


def test_what_is_no_batch_ends_the_episodes_and_not_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    env = Script(
        row(0, 10),
        (row(1, 11), np.ones(2), NO, NO, {}),
        (row(1, 11, 12), np.ones(2), NO, NO, {}),
        (row(2, 12), np.ones(2), flags(True, True), NO, {}),
        (row(3, 13), np.ones(2), NO, NO, {}),
    )
    first, again, *others = play(env)
    assert "no batch of 2" in first.metadata["incomplete"]["*"]
    assert first.arrays("sensors")["observation/value"].ravel().tolist() == [0, 1]
    assert again.arrays("sensors")["observation/value"].ravel().tolist() == [2, 3]
    assert "incomplete" not in again.metadata
    assert len(others) == 2


@pytest.mark.parametrize("final_key", ["final_obs", "terminal", None])
@pytest.mark.parametrize("count", [3, 40])
def test_t21_batched_simulators_rows_leave_the_device_alone(final_key: str | None, count: int) -> None:
    TensorLike.moved = 0
    env = RoboTraceRecorder(BatchedSim(count, final_key), **SETTINGS)
    assert isinstance(env, gym.Env)
    env.reset(seed=3)
    for _ in range(9):
        env.step(np.zeros((count, 1), np.float32))
    env.close()
    recorded = {episode.metadata["vector"]["index"] for episode in episodes()}
    assert recorded == ({0, 1, 2} if count == 3 else {0})
    first = episodes(0)[0]
    sensors = first.arrays("sensors")
    steps = sensors["observation.policy/value"][:, 1].tolist()
    assert steps == ([0, 1, 2] if final_key is None else [0, 1, 2, 3])
    assert sensors["observation.policy/value"].dtype == np.float32
    assert sensors["reward/value"].tolist() == [1, 2, 3]
    assert ("incomplete" in first.metadata) == (final_key is None)
    assert first.metadata["clock"] == "step_dt"
    assert first.metadata["reproduce"]["reproducible"] is False
    if count == 40:
        assert TensorLike.moved < 9 * (40 * (4 + 1 + 1) + 3 * 8) + 400  # rewards and flags of all, rows of one


def test_t21_where_dtypes_are_looked_at_one_row_leaves_the_device() -> None:
    env = RoboTraceRecorder(BatchedSim(40), **SETTINGS)
    TensorLike.moved = 0
    env.reset()
    env.close()
    assert TensorLike.moved <= 5 * 8  # of 40 rows of 8 bytes


class Strict:
    """As an array of JAX: a list is no index."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            raise TypeError("Using a non-tuple sequence for multidimensional indexing is not allowed")
        return self.values[index]


def test_arrays_that_take_no_list_as_index_are_selected_from() -> None:
    assert on_host(Strict([4, 5, 6]), [0, 2]).tolist() == [4, 6]
    assert on_host(Strict([4, 5, 6]), slice(1, 2)).tolist() == [5]


class Handle:
    """As what Isaac Gym has under ``envs``: it cannot be referred to weakly."""

    __slots__ = ()


def test_envs_that_are_handles_of_a_simulator_are_seen_from_the_vector() -> None:
    env = BatchedSim(3)
    env.envs = [Handle() for _ in range(3)]  # type: ignore[attr-defined]
    recorder = RoboTraceRecorder(env, **SETTINGS)
    recorder.reset()
    recorder.step(np.zeros((3, 1), np.float32))
    recorder.close()
    assert [episode.metadata["outcome"]["steps"] for episode in episodes()] == [1, 1, 1]


def test_t8_maniskills_env_idx_resets_some_and_cuts_only_these() -> None:
    env = attach(BatchedSim(3), **SETTINGS)
    env.reset()
    env.step(np.zeros((3, 1), np.float32))
    env.reset(options={"env_idx": np.array([1])})
    env.step(np.zeros((3, 1), np.float32))
    env.close()
    assert [len(episode.arrays("sensors")["observation.policy/value"]) for episode in episodes(1)] == [2, 2]
    (running,) = episodes(0)
    assert running.arrays("sensors")["observation.policy/value"][:, 1].tolist() == [0, 1, 2]
    assert running.arrays("sensors")["observation.policy/_t_ns"].tolist() == [0, 20_000_000, 40_000_000]


def test_labels_hold_from_the_next_episode_on() -> None:
    env = RoboTraceRecorder(BatchedSim(1), name="walk", **SETTINGS)
    env.reset()
    env.recorder.set(policy_version="v2")
    for _ in range(3):
        env.step(np.zeros((1, 1), np.float32))
    env.close()
    assert [episode.create.get("policy_version") for episode in episodes()] == [None, "v2"]


def test_limits_are_of_all_envs_together_and_numbers_of_each() -> None:
    env = RoboTraceRecorder(BatchedSim(3), **{**SETTINGS, "max_episodes": 4})
    env.reset()
    for _ in range(20):
        env.step(np.zeros((3, 1), np.float32))
    env.close()
    assert [(e.metadata["vector"]["index"], e.metadata["episode_index"]) for e in episodes()] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (2, 0),
    ]
    assert episodes(0)[1].create["name"].endswith("BatchedSim env 0 #1")


@pytest.mark.parametrize("value", ["0", [-1], [0.5], 3])
def test_env_indices_that_are_none_are_named(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="env_indices"):
        resolve_options({"env_indices": value})


def test_three_faults_of_our_own_end_the_recording_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    from robotrace import faults

    told: list[str] = []
    monkeypatch.setattr(faults, "report", lambda what, exc: told.append(what))
    env = BatchedSim(2)
    recorder = new_vector_recorder(env, resolve_options(SETTINGS), adapter="test")
    recorder.before_reset(None, None)
    recorder.after_reset(env.reset())
    for _ in range(5):
        recorder.before_step(np.zeros((2, 1)))
        recorder.after_step("not a result")
    assert len(told) == 3
    assert not recorder.recording
    recorded = len(episodes())
    recorder.before_reset(None, None)
    recorder.after_reset(env.reset())
    recorder.interrupt(None)
    assert len(episodes()) == recorded  # one without steps would say what never happened
    assert all("*" in episode.metadata["incomplete"] for episode in episodes())


def test_rows_of_every_batch() -> None:
    box, text = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Text(4)
    nest = gym.spaces.Dict({"a": box, "b": gym.spaces.Tuple((text, box))})
    arrays = np.arange(6.0).reshape(3, 2)
    batch = {"a": arrays, "b": (("x", "y", "z"), arrays)}
    found = row_of(nest, batch, 1, 3)
    assert same_rows(found, {"a": np.array([2.0, 3.0]), "b": ("y", np.array([2.0, 3.0]))})
    assert row_of(None, ("x", "y", "z"), 2, 3) == "z"
    assert not same_rows(found, {"a": np.array([2.0, 3.0]), "b": ("z", np.array([2.0, 3.0]))})
    np.testing.assert_array_equal(on_host([4, 5, 6], [0, 2]), [4, 6])


def test_t9_infos_are_ones_own_by_their_masks() -> None:
    infos = {
        "count": np.array([3, 0]),
        "_count": flags(True, False),
        "all": np.array([1.0, 2.0]),
        "deep": {"x": np.array([5, 6]), "_x": flags(False, True)},
        "_deep": flags(False, True),
        "scalar": 0.5,
        "odd": np.zeros(3),
    }
    assert info_of(infos, 0, 2) == {"count": 3, "all": 1.0, "scalar": 0.5}
    assert info_of(infos, 1, 2) == {"all": 2.0, "deep": {"x": 6}, "scalar": 0.5}
    assert info_of([{"a": 1}, {"a": 2}], 1, 2) == {"a": 2}
    assert final_info({"count": np.array([3, 4])}, 1, 2) == {"count": 4}
    assert final_observation({}, 0, 2, None) is MISSING


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_graphs_stay_graphs(mode: str) -> None:
    from robotrace.capture.rows import read_rows

    space = gym.spaces.Graph(gym.spaces.Box(-1, 1, (2,)), None, seed=1)
    graphs = [space.sample(num_nodes=2 + i % 3) for i in range(6)]
    final = np.full(2, None, object)
    final[0] = graphs[5]
    ended = flags(True, False)
    env = Script(
        (graphs[0], graphs[1]),
        ((graphs[2], graphs[3]), np.ones(2), NO, NO, {}),
        ((graphs[5], graphs[4]), np.ones(2), ended, NO, {"final_obs": final, "_final_obs": ended}),
        space=space,
        mode=mode,
    )
    first = play(env)[0]
    assert "incomplete" not in first.metadata
    for row, graph in zip(
        read_rows(first.arrays("sensors"), "observation"), (graphs[0], graphs[2], graphs[5]), strict=True
    ):
        np.testing.assert_array_equal(row.nodes, graph.nodes)
        assert row.edges is None


class VecEnv:
    """As Stable-Baselines3's: one ``dones``, a list of infos, a reset without info, and the single env's spaces."""

    def __init__(self, count: int) -> None:
        self.num_envs = count
        self.observation_space = gym.spaces.Box(-9, 9, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self._steps = np.zeros(count, int)

    def reset(self) -> Any:
        self._steps[:] = 0
        return self._steps.astype(np.float32).reshape(-1, 1)

    def step(self, actions: Any) -> Any:
        self.step_async(actions)
        return self.step_wait()

    def step_async(self, actions: Any) -> None:
        self._steps += 1

    def step_wait(self) -> Any:
        dones = self._steps >= 2 + np.arange(self.num_envs)
        infos: list[dict[str, Any]] = [{} for _ in dones]
        for i in np.flatnonzero(dones):
            infos[i] = {"terminal_observation": np.array([self._steps[i]], np.float32), "TimeLimit.truncated": i == 1}
        self._steps[dones] = 0
        return self._steps.astype(np.float32).reshape(-1, 1), np.ones(self.num_envs, np.float32), dones, infos


class Task:
    """As a task of Isaac Gym, or an env of rsl_rl: four values, done flags as integers, one dict of infos for all."""

    def __init__(self, extras: Any) -> None:
        self.num_envs = 2
        self.observation_space = gym.spaces.Box(-9, 9, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.extras = extras
        self.steps = 0

    def reset(self) -> Any:
        return row(0, 10)

    def step(self, actions: Any) -> Any:
        self.steps += 1
        ended = np.array([self.steps == 2] * 2, np.int64)
        return row(self.steps, 10 + self.steps), np.ones(2, np.float32), ended, self.extras


@pytest.mark.parametrize(
    ("extras", "truncated"), [({"time_outs": np.array([0, 1])}, [False, True]), ({"episode": {}}, [False, False])]
)
def test_vectors_with_one_dict_of_extras_can_be_attached_to(extras: Any, truncated: list[bool]) -> None:
    env = attach(Task(extras), **SETTINGS)
    env.reset()
    for _ in range(2):
        assert len(env.step(np.zeros(2, int))) == 4
    detach(env)
    outcomes = [episodes(index)[0].metadata["outcome"] for index in range(2)]
    assert [outcome["truncated"] for outcome in outcomes] == truncated
    assert [outcome["terminated"] for outcome in outcomes] == [not cut for cut in truncated]


def test_flags_nobody_can_read_are_the_recorders_business_not_the_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    env = attach(Task([3, "odd"]), **SETTINGS)
    env.reset()
    assert env.step(np.zeros(2, int))[3] == [3, "odd"]
    detach(env)
    assert all("*" in episode.metadata["incomplete"] for episode in episodes())


def test_stable_baselines_vectors_can_be_attached_to() -> None:
    env = attach(VecEnv(2), **SETTINGS)
    env.reset()
    for _ in range(6):
        env.step(np.zeros(2, int))
    for index, length in ((0, 2), (1, 3)):
        first = episodes(index)[0]
        assert first.arrays("sensors")["observation/value"].ravel().tolist() == list(range(length + 1))
        outcome = first.metadata["outcome"]
        assert (outcome["terminated"], outcome["truncated"]) == (index == 0, index == 1)
