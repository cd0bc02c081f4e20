"""Metadata of any kind becomes JSON, and what was changed is listed."""

import collections
import dataclasses
import datetime
import enum
import json
import math
import os
import pathlib
import types
import uuid

import pytest

from robotrace.jsonable import metadata_json
from robotrace.types import Battery, EpisodeOutcome, JointState

NAN, INF = math.nan, math.inf


class Color(enum.Enum):
    RED = "red"


class TextColor(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Loud(str):
    def __str__(self):
        return "LOUD"


class Unprintable:
    def __str__(self):
        raise RuntimeError("no text")


class BytesPath:
    def __fspath__(self):
        return b"/data/run"


class LostArray:
    """As a tensor whose device is gone."""

    dtype = "float32"

    def tolist(self):
        raise RuntimeError("device lost")

    def __str__(self):
        return "a lost array"


def convert(value):
    """``value`` after its way through JSON, and what was listed of it."""
    metadata = json.loads(json.dumps(metadata_json({"x": value}), allow_nan=False))
    listed = metadata.pop("robotrace", {"sanitized": []})["sanitized"]
    assert list(metadata) == ["x"]
    return metadata["x"], listed


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**70,
        1.5,
        -0.0,
        "",
        "ü ☃ \U0001f916",
        [],
        {},
        [1, [2, {"a": None}]],
        {"a": {"b": [1.0]}},
    ],
)
def test_what_is_json_stays_as_it_is(value):
    assert convert(value) == (value, [])


@pytest.mark.parametrize(
    ("value", "converted"),
    [
        (pathlib.PurePosixPath("/data/run"), "/data/run"),
        (BytesPath(), "/data/run"),
        (datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc), "2030-01-02T03:04:05+00:00"),
        (datetime.date(2030, 1, 2), "2030-01-02"),
        (datetime.time(3, 4), "03:04:00"),
        ({"b", "a"}, ["a", "b"]),
        (frozenset({2, 1}), [1, 2]),
        ((1, (2,)), [1, [2]]),
        (Color.RED, "red"),
        (TextColor.RED, "red"),
        (Level.HIGH, 3),
        (Loud("quiet"), "quiet"),
        (collections.OrderedDict(a=1), {"a": 1}),
        (types.MappingProxyType({"a": (1,)}), {"a": [1]}),
        (collections.namedtuple("Point", "x y")(1, 2), [1, 2]),
        (
            {1: "a", None: "b", (1, 2): "c", Color.RED: "d", Level.HIGH: "e"},
            {"1": "a", "None": "b", "(1, 2)": "c", "red": "d", "3": "e"},
        ),
    ],
)
def test_what_has_a_word_in_json_is_converted(value, converted):
    assert convert(value) == (converted, [])


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_numbers_without_a_word_in_json_become_null_and_are_listed(value):
    assert convert(value) == (None, ["x"])
    assert convert({"a": [1, value, {"b": value}]}) == ({"a": [1, None, {"b": None}]}, ["x.a.1", "x.a.2.b"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1j, "1j"),
        (b"raw", "b'raw'"),
        (datetime.timedelta(seconds=1), "0:00:01"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (range(3), "range(0, 3)"),
        (Unprintable(), "<Unprintable>"),
        (LostArray(), "a lost array"),
        (len, "<built-in function len>"),
    ],
)
def test_anything_else_becomes_text_and_is_listed(value, text):
    assert convert(value) == (text, ["x"])


def test_a_set_of_what_cannot_be_printed_is_no_error():
    converted, listed = convert({Unprintable(), Unprintable()})
    assert listed == ["x"]
    assert isinstance(converted, str)


def test_text_that_is_no_unicode_is_escaped_and_listed():
    name = os.fsdecode(b"run-\xff")
    assert convert(name) == (r"run-\udcff", ["x"])
    assert convert(pathlib.PurePosixPath(name)) == (r"run-\udcff", ["x"])
    assert metadata_json({name: NAN}) == {r"run-\udcff": None, "robotrace": {"sanitized": [r"run-\udcff"]}}


# --- typed values


def test_typed_values_become_their_wire_form_wherever_they_are():
    assert convert({"b": [Battery(percent=50.0)]})[0] == {
        "b": [{"__type": "robotrace.Battery", "percent": 50.0, "voltage_v": None, "current_a": None, "charging": None}]
    }


def test_nan_inside_a_typed_value_is_listed_by_its_field():
    converted, listed = convert(JointState([0.0, NAN]))
    assert converted["positions"] == [0.0, None]
    assert listed == ["x.positions.1"]


def test_a_dataclass_of_the_callers_is_text():
    Mine = dataclasses.make_dataclass("Mine", ["a"])
    assert convert(Mine(1)) == ("Mine(a=1)", ["x"])


# --- shapes without an end


def test_a_cycle_is_cut_where_it_closes():
    loop = {"a": 1}
    loop["self"] = loop
    assert convert(loop) == ({"a": 1, "self": "<class 'dict'>"}, ["x.self"])
    row = [1]
    row.append(row)
    assert convert(row) == ([1, "<class 'list'>"], ["x.1"])


def test_metadata_that_holds_itself_is_cut():
    metadata = {"a": 1}
    metadata["self"] = metadata
    assert metadata_json(metadata) == {"a": 1, "self": "<class 'dict'>", "robotrace": {"sanitized": ["self"]}}


def test_a_cycle_with_many_branches_does_not_explode():
    node = {}
    for name in "abcdefgh":
        node[name] = node
    assert convert(node)[0] == dict.fromkeys("abcdefgh", "<class 'dict'>")


def test_the_same_value_twice_is_no_cycle():
    shared = {"a": 1}
    assert convert([shared, shared]) == ([shared, shared], [])


def test_nesting_deeper_than_32_is_cut():
    value = 7
    for _ in range(10_000):
        value = [value]
    converted, (listed,) = convert(value)
    assert listed == "x" + ".0" * 32
    for _ in range(32):
        (converted,) = converted
    assert converted == "<class 'list'>"


# --- the list of what was changed


def test_nothing_is_listed_where_nothing_was_changed():
    assert metadata_json({"robotrace": {"a": 1}}) == {"robotrace": {"a": 1}}
    assert metadata_json({}) == {}


@pytest.mark.parametrize("before", [["y"], ["y", "y", 5, None], ("y",)])
def test_an_earlier_list_is_kept(before):
    assert metadata_json({"x": NAN, "robotrace": {"a": 1, "sanitized": before}}) == {
        "x": None,
        "robotrace": {"a": 1, "sanitized": ["x", "y"]},
    }


@pytest.mark.parametrize("before", [5, None, "y", {"y": 1}])
def test_a_list_that_is_none_is_replaced(before):
    metadata = metadata_json({"x": NAN, "robotrace": {"sanitized": before}})
    assert metadata["robotrace"] == {"sanitized": ["x"]}


def test_a_callers_own_value_under_our_key_stays():
    assert metadata_json({"x": NAN, "robotrace": "mine"}) == {"x": None, "robotrace": "mine"}


def test_the_callers_metadata_is_not_changed():
    inner = {"b": NAN, "c": {1}}
    metadata = {"a": inner}
    metadata_json(metadata)
    assert metadata == {"a": inner}
    assert inner["c"] == {1}


# --- NumPy


def test_numpy_scalars_become_numbers():
    np = pytest.importorskip("numpy")
    assert convert(np.int64(7)) == (7, [])
    assert convert(np.float32(0.5)) == (0.5, [])
    assert convert(np.bool_(True)) == (True, [])
    assert convert(np.str_("a")) == ("a", [])
    assert convert(np.float64("nan")) == (None, ["x"])
    assert convert(np.float32("inf")) == (None, ["x"])


def test_numpy_arrays_become_lists():
    np = pytest.importorskip("numpy")
    assert convert(np.arange(6).reshape(2, 3)) == ([[0, 1, 2], [3, 4, 5]], [])
    assert convert(np.array(5)) == (5, [])
    assert convert(np.array([[1.0, np.nan]])) == ([[1.0, None]], ["x.0.1"])
    assert convert(np.zeros((0, 3))) == ([], [])
    assert convert(np.array([{"a": {1}}, None], dtype=object)) == ([{"a": [1]}, None], [])
    assert convert(np.datetime64("2030-01-02")) == ("2030-01-02", [])


def test_numpy_inside_typed_values_is_converted():
    np = pytest.importorskip("numpy")
    converted, listed = convert(EpisodeOutcome(success=np.bool_(True), reward_total=np.float32("nan")))
    assert converted["success"] is True
    assert converted["reward_total"] is None
    assert listed == ["x.reward_total"]
