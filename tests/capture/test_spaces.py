"""Every space a stream may be of: recorded, sealed, read back, and compared with what went in."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import pytest

np = pytest.importorskip("numpy")

from recorded import sealed  # noqa: E402

from robotrace.capture.clock import EnvClock  # noqa: E402
from robotrace.capture.options import Options  # noqa: E402
from robotrace.capture.process import RecordingProcess  # noqa: E402
from robotrace.capture.recording import Recording  # noqa: E402
from robotrace.capture.rows import Graph, read_rows  # noqa: E402
from robotrace.deliver.spool import open_spool  # noqa: E402
from robotrace.ingest import create_payload  # noqa: E402


class Space:
    """What is looked at of a space, by the name of its class."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Text(Space):
    pass


class Box(Space):
    pass


class Sequence(Space):
    pass


class Tuple(Space):
    pass


class Dict(Space):
    pass


class OneOf(Space):
    pass


class GraphInstance(NamedTuple):
    nodes: Any
    edges: Any
    edge_links: Any


def record(observations: list[Any], space: Any = None, **options: Any) -> tuple[dict[str, Any], Any]:
    """Record an episode of these observations, each overwritten once it is recorded; (sensors, episode)."""
    process = RecordingProcess(open_spool(), lambda entry: None)
    recording = Recording(
        process,
        EnvClock("test", 20_000_000),
        lambda uuid: create_payload(source="sim", request_uploads=(), client_episode_id=uuid, metadata={}),
        options=Options(images="arrays", **options),
        observation_space=space,
    )
    given = copy.deepcopy(observations)
    recording.begin(given[0])
    spoil(given[0])
    before, after = recording.step_calls(None, lambda *_: None, raise_it)
    for number, observation in enumerate(given[1:]):
        before(number)
        after((observation, 1.0, False, False, {}))
        spoil(observation)
    recording.end("ready", {}, fps=50)
    assert process.close(30)
    (episode,) = [found for found in sealed() if found.manifest["uuid"] == recording.uuid]
    return episode.arrays("sensors"), episode


def raise_it(exc: Exception) -> None:
    raise exc


def spoil(value: Any) -> None:
    """Overwrite whatever can be: nothing of it may be in the recording."""
    if isinstance(value, np.ndarray) and value.flags.writeable and value.dtype.kind in "biufc":
        value[...] = 77
    elif isinstance(value, dict):
        for item in value.values():
            spoil(item)
        value.clear()
    elif isinstance(value, (tuple, list)):
        for item in value:
            spoil(item)


def same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(same(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, (tuple, list)):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(wanted, str) or wanted is None:
        return found == wanted
    one, other = np.asarray(found), np.asarray(wanted)
    if other.size == 0:  # an empty array has no items that could tell its dtype
        return one.shape == other.shape or one.size == 0
    return one.dtype == other.dtype.newbyteorder("<") and np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")


def check(observations: list[Any], space: Any = None) -> dict[str, Any]:
    sensors, episode = record(observations, space)
    rows = read_rows(sensors, "observation")
    assert len(rows) == len(observations)
    for found, wanted in zip(rows, observations, strict=True):
        assert same(found, wanted), (found, wanted)
    assert "incomplete" not in episode.metadata
    for key, stamps in sensors.items():
        if key.endswith("/_t_ns"):
            leaf = key.removesuffix("/_t_ns")
            offsets = sensors.get(f"{leaf}/_offsets")
            assert len(stamps) == (len(sensors[f"{leaf}/value"]) if offsets is None else len(offsets) - 1), key
    return sensors


F4 = np.float32


@pytest.mark.parametrize(
    "make",
    [
        lambda k: np.full((2, 3), k, F4),
        lambda k: np.float16(k),
        lambda k: k,
        lambda k: k % 2 == 0,
        lambda k: complex(k, 1),
        lambda k: np.array(k),
        lambda k: np.zeros((0, 3)),
        lambda k: {},
        lambda k: {"a": np.full(3, k, F4), "b": {"c": k, "d": (np.int8(k), float(k))}, "text": "ä" * k},
        lambda k: {"image": np.full((7, 7, 3), k, np.uint8), "direction": k % 4, "mission": f"go to {k}"},
        lambda k: (k, {"x": np.full(2, k, ">f8")}, ()),
        lambda k: f"step {k}",
        lambda k: ("a", "b") * (k % 3 + 1),
        lambda k: np.full((k % 4, 2), k, F4),
    ],
)
def test_what_an_env_returns_comes_back_without_a_space(make: Any) -> None:
    observations = [make(k) for k in range(7)]
    if isinstance(observations[0], dict) and not observations[0]:
        sensors, _ = record(observations)
        assert "wall_clock/value" in sensors
    else:
        check(observations)


def graph(k: int) -> GraphInstance:
    edges = None if k % 3 == 0 else np.full((k, 2), k, F4)
    return GraphInstance(np.full((k + 1, 4), k, F4), edges, None if edges is None else np.full((k, 2), k, np.int32))


SPACES = {
    "text": (Text(), lambda k: "é\ud800"[: k % 3] + "x" * k),
    "sequence": (Sequence(stack=False, feature_space=Box()), lambda k: tuple(np.full(2, i, F4) for i in range(k % 4))),
    "sequence of numbers": (Sequence(stack=False, feature_space=Box()), lambda k: tuple(range(k % 4))),
    "stacked": (Sequence(stack=True, feature_space=Box()), lambda k: np.full((k % 3, 2), k, F4)),
    "stacked dict": (
        Sequence(stack=True, feature_space=Dict(spaces={"a": Box(), "b": Box()})),
        lambda k: {"a": np.full((k % 3, 2), k, F4), "b": np.arange(k % 3)},
    ),
    "sequence of dicts": (
        Sequence(stack=False, feature_space=Dict(spaces={"a": Box(), "t": Text()})),
        lambda k: tuple({"a": np.full(2, i, F4), "t": "y" * i} for i in range(k % 4)),
    ),
    "sequence of sequences": (
        Sequence(stack=False, feature_space=Sequence(stack=False, feature_space=Text())),
        lambda k: tuple(tuple("z" * j for j in range(i)) for i in range(k % 4)),
    ),
    "graph": (Box(), graph),
    "sequence of graphs": (
        Sequence(stack=False, feature_space=type("Graph", (Space,), {})()),
        lambda k: tuple(graph(i) for i in range(k % 4)),
    ),
    "one of": (OneOf(spaces=(Box(), Text(), Box())), lambda k: (k % 3, [np.full(2, k, F4), "t" * k, k][k % 3])),
    "sequence of one of": (
        Sequence(stack=False, feature_space=OneOf(spaces=(Box(), Text()))),
        lambda k: tuple((i % 2, [np.full(2, i, F4), "t" * i][i % 2]) for i in range(k % 5)),
    ),
    "dict of all": (
        Dict(spaces={"text": Text(), "many": Sequence(stack=False, feature_space=Box()), "box": Box()}),
        lambda k: {"box": np.full(3, k), "text": "q" * k, "many": tuple(np.full(1, i) for i in range(k % 3))},
    ),
    "a space that is not what comes": (Dict(spaces={"a": Box()}), lambda k: np.full(3, k, F4)),
}


@pytest.mark.parametrize("name", SPACES)
def test_every_space_comes_back_as_it_was(name: str) -> None:
    space, make = SPACES[name]
    check([make(k) for k in range(9)], space)
    check([make(k) for k in range(8, -1, -1)], space)


@pytest.mark.parametrize("name", ["sequence", "text", "one of", "dict of all"])
def test_blocks_in_between_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robotrace.capture.recording._BLOCK_STEPS", 2)
    space, make = SPACES[name]
    check([make(k) for k in range(9)], space)


def test_gymnasiums_own_spaces_come_back_as_they_were() -> None:
    spaces = pytest.importorskip("gymnasium").spaces
    space = spaces.Dict(
        box=spaces.Box(-1, 1, (2, 3)),
        number=spaces.Discrete(5, start=-2),
        several=spaces.MultiDiscrete([3, 4]),
        bits=spaces.MultiBinary((2, 2)),
        text=spaces.Text(12),
        nest=spaces.Tuple([spaces.Discrete(2), spaces.Dict(a=spaces.Box(0, 255, (4,), np.uint8))]),
        many=spaces.Sequence(spaces.Box(0, 1, (2,))),
        stacked=spaces.Sequence(spaces.Box(0, 1, (2,)), stack=True),
        graph=spaces.Graph(spaces.Box(0, 1, (3,)), spaces.Discrete(4)),
        **({"one": spaces.OneOf([spaces.Discrete(3), spaces.Box(0, 1, (2,))])} if hasattr(spaces, "OneOf") else {}),
    )
    for seed in range(5):
        space.seed(seed)
        check([space.sample() for _ in range(12)], space)


def test_a_graph_comes_back_as_one() -> None:
    sensors, _ = record([graph(k) for k in range(3)])
    rows = read_rows(sensors, "observation")
    assert isinstance(rows[0], Graph)
    assert rows[0].edges is None
    assert set(sensors) >= {
        "observation.nodes/_offsets",
        "observation.edges/_offsets_1",
        "observation.edge_links/value",
    }


def test_offsets_say_where_each_row_begins() -> None:
    sensors, _ = record(["ab", "", "cde"])
    assert sensors["observation/_offsets"].tolist() == [0, 2, 2, 5]
    assert sensors["observation/value"].tobytes() == b"abcde"
    assert sensors["observation/_t_ns"].tolist() == [0, 20_000_000, 40_000_000]


def test_a_missing_key_and_a_new_one_have_the_times_of_their_rows() -> None:
    rows = [{"a": 0, "b": 0}, {"a": 1}, {"a": 2, "b": 2, "c": 9}]
    sensors, episode = record(rows)
    assert sensors["observation.b/_rows"].tolist() == [0, 2]
    assert sensors["observation.b/_t_ns"].tolist() == [0, 40_000_000]
    assert sensors["observation.c/_t_ns"].tolist() == [40_000_000]
    assert [set(row) for row in read_rows(sensors, "observation")] == [{"a", "b"}, {"a"}, {"a", "b"}]
    assert "missing in row 1" in episode.metadata["incomplete"]["observation.b/value"]


def test_a_change_in_the_middle_is_another_segment_with_its_times(caplog: pytest.LogCaptureFixture) -> None:
    rows = [np.zeros(2), np.ones(2), np.ones(3, F4), np.zeros(3, F4)]
    sensors, episode = record(rows)
    assert sensors["observation#1/_t_ns"].tolist() == [40_000_000, 60_000_000]
    assert sensors["observation#1/value"].dtype == F4
    assert same(read_rows(sensors, "observation"), rows)
    assert list(episode.metadata["segments"]) == ["observation#1"]
    assert len([record for record in caplog.records if "do not look the same" in record.message]) == 1


def test_infos_are_streams_where_they_are_asked_for() -> None:
    infos = [{"x": 0.5, "deep": {"y": 1}}, {"x": 1.5, "deep": {"y": 2}, "late": True}, {"x": None, "why": "fell"}]
    sensors, episode = _with_infos(infos, True)
    assert sensors["info.x/value"].tolist() == [0.5, 1.5]
    assert sensors["info.x/_t_ns"].tolist() == [20_000_000, 40_000_000]
    assert sensors["info.deep.y/value"].tolist() == [1, 2]
    assert sensors["info.late/_t_ns"].tolist() == [40_000_000]
    assert sensors["info.why/value"].tobytes() == b"fell"
    assert "incomplete" not in episode.metadata
    assert "segments" not in episode.metadata


def _with_infos(infos: list[Any], wanted: Any) -> tuple[dict[str, Any], Any]:
    process = RecordingProcess(open_spool(), lambda entry: None)
    recording = Recording(
        process,
        EnvClock("test", 20_000_000),
        lambda uuid: create_payload(source="sim", request_uploads=(), client_episode_id=uuid, metadata={}),
        options=Options(infos=wanted),
    )
    recording.begin(0)
    before, after = recording.step_calls(None, lambda *_: None, raise_it)
    for info in infos:
        before(0)
        after((1, 1.0, False, False, info))
    recording.end("ready", {}, fps=50)
    assert process.close(30)
    (episode,) = [found for found in sealed() if found.manifest["uuid"] == recording.uuid]
    return episode.arrays("sensors"), episode


def test_only_the_infos_asked_for_are_kept() -> None:
    sensors, _ = _with_infos([{"x": 1.0, "y": 2.0}, {"y": 3.0}], ["x"])
    assert [key for key in sensors if key.startswith("info")] == ["info.x/value", "info.x/_t_ns"]
    sensors, _ = _with_infos([{"x": 1.0}], "auto")
    assert not [key for key in sensors if key.startswith("info")]


def test_a_tuple_that_grows_loses_nothing() -> None:
    sensors, _ = record([(1,), (2, 3.5), (4,)])
    assert sensors["observation.0/value"].tolist() == [1, 2, 4]
    assert sensors["observation.1/value"].tolist() == [3.5]
    assert sensors["observation.1/_rows"].tolist() == [1]


@pytest.mark.parametrize("block", [2, 4096])
def test_the_last_seconds_alone_are_kept_of_whatever_it_is(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robotrace.capture.recording._BLOCK_STEPS", block)
    observations = [{"a": np.full(2, k), "t": "x" * k, **({"b": k} if k not in (1, 8) else {})} for k in range(12)]
    sensors, episode = record(observations, last_seconds=0.09)  # 220 ms on the clock: from 130 ms on, 140 is there
    rows = read_rows(sensors, "observation")
    assert same(rows, observations[7:])
    assert sensors["observation.a/_t_ns"].tolist() == [k * 20_000_000 - 130_000_000 for k in range(7, 12)]
    assert sensors["observation.b/_rows"].tolist() == [0, 2, 3, 4]
    assert sensors["observation.b/_t_ns"].tolist() == [10_000_000, 50_000_000, 70_000_000, 90_000_000]
    assert sensors["reward/_t_ns"].tolist() == [30_000_000, 50_000_000, 70_000_000, 90_000_000]
    assert len(sensors["reward/value"]) == 4
    actions = episode.arrays("actions")
    assert actions["action/value"].tolist() == [7, 8, 9, 10]
    assert actions["action/_t_ns"][0] == 10_000_000
    assert episode.finalize["duration_s"] == pytest.approx(0.09)
    assert episode.metadata["last_seconds"] == {"kept_s": 0.09, "dropped_steps": 7}


def test_an_episode_shorter_than_its_window_is_kept_whole() -> None:
    sensors, episode = record([0, 1, 2], last_seconds=10.0)
    assert sensors["observation/value"].tolist() == [0, 1, 2]
    assert "last_seconds" not in episode.metadata


def test_there_is_no_stream_of_that_name() -> None:
    with pytest.raises(KeyError, match="nothing"):
        read_rows({}, "nothing")


def test_what_says_how_leaves_make_up_a_row_is_no_array_a_reader_could_take_for_rows():
    observations = [{"a": np.zeros(2), "b": (1, 2.0)} for _ in range(5)]
    arrays, episode = record(observations)
    assert same(read_rows(arrays, "observation"), observations)
    with np.load(episode.folder / "sensors.npz", allow_pickle=False) as file:
        # The rule of existing clients: row i of every array, as far as the shortest goes.
        assert min(len(file[key]) for key in file.files) == 4
        assert not [key for key in file.files if "structure" in key]
