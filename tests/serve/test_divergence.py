"""Where two episodes first differ: against what plain loops say, and in the cases people ask about."""

import math

import numpy as np
import pytest

from robotrace.serve.divergence import difference, first_of, measure
from robotrace.serve.stream_pairs import EpisodePair, Shift

SECOND = 1_000_000_000


def clock(rows, fps=50.0, begin_s=0.0):
    return np.round((np.arange(rows) / fps + begin_s) * SECOND).astype(np.int64)


@pytest.fixture
def pair(tmp_path, npz):
    """``pair(a, b)`` of ``{stream: values}`` or ``{stream: (values, t_ns)}``."""

    def write(side, kind, streams):
        arrays = {}
        for name, given in streams.items():
            values, t_ns = given if isinstance(given, tuple) else (given, clock(len(given)))
            arrays |= {f"{name}/value": np.asarray(values), f"{name}/_t_ns": t_ns}
        path = tmp_path / f"{side}-{kind}.npz"
        path.write_bytes(npz(arrays))
        return kind, path

    opened = []

    def make(a, b, *, actions=({}, {}), same_recipe=False):
        sides = [
            [write(side, "sensors", sensors), *([write(side, "actions", acts)] if acts else [])]
            for side, sensors, acts in (("a", a, actions[0]), ("b", b, actions[1]))
        ]
        opened.append(EpisodePair(*sides, same_recipe=same_recipe))
        return opened[-1]

    yield make
    for each in opened:
        each.__exit__(None, None, None)


def compared(pair, shift=Shift(), tolerance=0.0):  # noqa: B008
    return {each.name: measure(each, tolerance) for each in pair.pairs(shift)}


def walk(rows, columns=4, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(dtype)


def test_identical_to_the_bit(pair):
    found = compared(pair({"observation": walk(500)}, {"observation": walk(500)}))["observation"]
    assert (found.by, found.compared, found.different_rows, found.rms) == ("step", 500, 0, 0.0)
    assert (found.first, found.beyond, found.largest) == (None, None, None)


def test_the_first_step_that_differs_is_named_with_both_values(pair):
    a, b = walk(500), walk(500)
    b[37, 2] += np.float32(0.25)
    b[40:] += 3
    found = compared(pair({"observation": a}, {"observation": b}))["observation"]
    first = found.first
    assert (first.row_a, first.row_b, first.column, first.t_ms) == (37, 37, "2", 740)
    assert (first.a, first.b) == (str(a[37, 2]), str(b[37, 2]))
    assert first.distance == float(b[37, 2]) - float(a[37, 2])
    assert first.value == "observation[2]"
    apart = np.abs(a.astype(float) - b.astype(float))
    assert found.different_rows == 461
    assert found.rms == pytest.approx(math.sqrt((apart**2).mean()))
    assert found.largest.distance == apart.max()


def test_what_differs_less_than_the_tolerance_is_not_beyond_it(pair):
    a, b = walk(100), walk(100)
    b[10] += np.float32(1e-4)
    b[60, 1] += 1
    found = compared(pair({"o": a}, {"o": b}), tolerance=0.01)["o"]
    assert (found.first.row_a, found.beyond.row_a, found.beyond.column) == (10, 60, "1")
    assert compared(pair({"o": a}, {"o": b}), tolerance=2)["o"].beyond is None


def test_a_nan_equals_a_nan_and_nothing_else(pair):
    a, b = walk(20), walk(20)
    a[3, 1] = b[3, 1] = np.nan
    a[4, 0], b[4, 0] = np.inf, np.inf
    assert compared(pair({"o": a}, {"o": b}))["o"].first is None
    # A NaN of other bits, as another processor makes it.
    a[3, 1] = np.uint32(0xFFC00001).view(np.float32)
    assert compared(pair({"o": a}, {"o": b}))["o"].first is None
    b[7, 2] = np.nan
    found = compared(pair({"o": a}, {"o": b}), tolerance=100)["o"]
    assert (found.first.row_a, found.first.b, found.first.distance) == (7, "nan", None)
    assert (found.beyond.row_a, found.unlike, found.largest) == (7, 1, None)
    apart = difference(next(iter(pair({"o": a}, {"o": b}).pairs(Shift()))))
    assert np.flatnonzero(np.isnan(apart)).tolist() == [7]
    b[7, 0] += 2  # what can be said of the other columns is
    apart = difference(next(iter(pair({"o": a}, {"o": b}).pairs(Shift()))))
    assert (np.flatnonzero(apart).tolist(), apart[7]) == ([7], pytest.approx(2))


def test_rows_without_numbers_do_not_thin_out_the_rms(pair):
    a, b = np.full((2, 100, 1), np.nan, np.float32)
    a[40], b[40] = 1, 3
    assert compared(pair({"o": a}, {"o": b}))["o"].rms == 2.0


def test_a_zero_of_the_other_sign_is_another_bit_and_no_distance(pair):
    found = compared(pair({"o": np.array([1.0, 0.0])}, {"o": np.array([1.0, -0.0])}))["o"]
    assert (found.first.row_a, found.first.b, found.first.distance) == (1, "-0.0", 0)
    assert (found.beyond, found.largest) == (None, None)


@pytest.mark.parametrize(
    ("one", "other", "row", "apart"),
    [
        (np.uint8([1, 0, 200]), np.uint8([1, 255, 200]), 1, 255),
        (np.int8([0, -128]), np.int8([0, 127]), 1, 255),
        (np.uint64([2**64 - 1, 2**64 - 1]), np.uint64([2**64 - 1, 2**64 - 2]), 1, 1),
        (np.int64([2**53, 2**62]), np.int64([2**53 + 1, 2**62]), 0, 1),
        (np.array([True, False]), np.array([True, True]), 1, 1),
    ],
)
def test_integers_and_bools_have_no_overflow(pair, one, other, row, apart):
    found = compared(pair({"x": one}, {"x": other}))["x"]
    assert (found.first.row_a, found.first.distance, found.largest.distance) == (row, apart, apart)


@pytest.mark.parametrize(
    ("one", "other", "row"),
    [
        (np.float32([0.5, 1.5]), np.float64([0.5, 1.5]), None),
        (np.float32([0.5, 0.1]), np.float64([0.5, 0.1]), 1),
        (np.int64([1, -1]), np.uint64([1, 2**64 - 1]), 1),
        (np.array([True, False]), np.int32([1, 0]), None),
        (np.int64([1, 2]), np.float64([1, 2.5]), 1),
        (np.array([1.0, np.nan], ">f4"), np.array([1.0, np.nan], "<f4"), None),
    ],
)
def test_of_different_dtypes_the_values_are_compared(pair, one, other, row):
    found = compared(pair({"x": one}, {"x": other}))["x"]
    assert (None if found.first is None else found.first.row_a) == row
    assert found.dtypes == (one.dtype.name, other.dtype.name)


def test_of_different_lengths_the_common_part_is_compared(pair):
    a, b = walk(500), walk(39)
    found = compared(pair({"o": a}, {"o": b}))["o"]
    assert (found.by, found.compared, found.rows, found.first) == ("step", 39, (500, 39), None)


def test_a_clock_that_begins_later_is_the_same_steps(pair):
    late = (walk(100), clock(100, begin_s=5))
    assert compared(pair({"o": walk(100)}, {"o": late}))["o"].first is None
    found = compared(pair({"o": walk(100)}, {"o": late}), Shift.of(-5 * SECOND))["o"]
    assert (found.by, found.compared, found.first) == ("time", 100, None)


def test_a_wall_clock_that_drifts_counts_steps_only_where_the_recipe_is_the_same(pair):
    slow = (walk(80), clock(80, fps=37.0))
    assert compared(pair({"o": walk(100)}, {"o": slow}, same_recipe=True))["o"].first is None
    assert compared(pair({"o": walk(100)}, {"o": slow}))["o"].by == "time"


def test_rows_of_another_rate_are_held_until_the_next(pair):
    fast = np.arange(100.0)
    slow = (fast[::2].copy(), clock(50, fps=25.0))
    found = compared(pair({"x": fast}, {"x": slow}))["x"]
    # In the common window, at the rows of the one that has more: the odd ones have moved on by 1.
    assert (found.by, found.compared, found.different_rows) == ("time", 99, 49)
    assert (found.first.row_a, found.first.row_b, found.largest.distance) == (1, 0, 1)
    turned = compared(pair({"x": slow}, {"x": fast}))["x"]
    assert (turned.first.row_a, turned.first.row_b, turned.different_rows) == (0, 1, 49)


def test_ends_lie_over_each_other(pair):
    a, b = walk(100), walk(100)[40:]
    both = pair({"o": a}, {"o": (b, clock(60))})
    end_a, end_b = both.ends_ns()
    found = compared(both, Shift.of(end_a - end_b))["o"]
    assert (found.compared, found.first) == (60, None)


def test_what_cannot_be_compared_is_listed_with_its_reason(pair):
    both = pair(
        {"o": walk(10), "mine": walk(10), "text": np.array(["x"] * 10), "wide": walk(10, 3), "wall_clock": clock(10)},
        {"o": walk(10), "its": walk(10), "text": np.array(["x"] * 10), "wide": walk(10, 4), "wall_clock": clock(10)},
    )
    assert list(compared(both)) == ["o"]
    told = {item.name: (item.side, item.reason) for item in both.left_out}
    assert told == {
        "mine": ("a", "only this one has it"),
        "its": ("b", "only this one has it"),
        "text": (None, "not numeric"),
        "wide": (None, "A has 3 values a row, B 4"),
        "wall_clock": (None, "clock"),
    }


def test_a_broken_stream_is_left_out_and_the_others_are_compared(pair, tmp_path, npz):
    streams = {"a": walk(5000), "b": walk(5000)}
    good, path = pair(streams, streams), tmp_path / "b-sensors.npz"
    assert len(compared(good)) == 2
    content = bytearray(path.read_bytes())
    content[50_000] ^= 255  # in the first array's data: its checksum is wrong
    path.write_bytes(content)
    with EpisodePair([("sensors", tmp_path / "a-sensors.npz")], [("sensors", path)]) as both:
        assert list(compared(both)) == ["b"]
    assert "broken" in next(item.reason for item in both.left_out if item.name == "a")
    path.write_bytes(content[:70_000])
    with EpisodePair([("sensors", tmp_path / "a-sensors.npz")], [("sensors", path)]) as cut:
        assert compared(cut) == {}
    assert [(item.name, item.side) for item in cut.left_out] == [("sensors", "b")]


def test_no_files_and_no_rows_are_no_error(pair, tmp_path):
    with EpisodePair([], []) as nothing:
        assert compared(nothing) == {}
        assert nothing.ends_ns() == (0, 0)
    found = compared(pair({"o": walk(0)}, {"o": walk(5)}))["o"]
    assert (found.compared, found.first, found.rms) == (0, None, None)
    found = compared(pair({"o": walk(0)}, {"o": walk(5)}), Shift.of(SECOND))["o"]
    assert found.compared == 0
    (tmp_path / "x").write_bytes(b"PAR1")
    with EpisodePair([("sensors", tmp_path / "x")], []) as other:
        assert other.left_out[0].reason == "not an NPZ file"


def test_the_earliest_stream_is_the_divergence_and_what_infos_say_comes_last(pair):
    a, b = walk(50), walk(50)
    b[20] += 1
    act = np.zeros(50, np.int64)
    other = act.copy()
    other[19] = 1
    timing = {"info.render_s": np.arange(50.0)}
    found = compared(
        pair(
            {"observation": a, **timing},
            {"observation": b, "info.render_s": np.arange(50.0) + 1e-3},
            actions=({"action": act}, {"action": other}),
        )
    )
    first = first_of(stream.first for stream in found.values())
    assert (first.value, first.row_a) == ("action", 19)
    alone = compared(pair(timing, {"info.render_s": np.arange(50.0) + 1e-3}))
    assert first_of(stream.first for stream in alone.values()).stream == "info.render_s"
    assert first_of([]) is None


@pytest.mark.parametrize("stamps", [np.uint64([0, 2**64 - 1, 5]), np.int64([2**62, 3, -(2**63)]), np.int64([7, 7, 7])])
def test_no_clock_is_an_error(pair, stamps):
    """Clocks come over a wire: nonsense is compared somehow, and never raises."""
    both = pair({"x": (np.arange(3.0), stamps)}, {"x": np.arange(5.0)})
    end_a, end_b = both.ends_ns()
    for shift in (Shift(), Shift.of(end_a - end_b), Shift.of(-(10**30)), Shift.of(10**30)):
        assert "x" in compared(both, shift)


def oracle(a, t_a, b, t_b, tolerance):
    """By time, with plain loops: at the rows of the one with more in the common window, what the other said last."""
    start, end = max(t_a[0], t_b[0]), min(t_a[-1], t_b[-1])
    inside = [[i for i, t in enumerate(stamps) if start <= t <= end] for stamps in (t_a, t_b)]
    first = beyond = None
    largest, rows = 0.0, 0
    for index in inside[0] if len(inside[0]) >= len(inside[1]) else inside[1]:
        at = t_a[index] if len(inside[0]) >= len(inside[1]) else t_b[index]
        x, y = (values[max(i for i, t in enumerate(stamps) if t <= at)] for values, stamps in ((a, t_a), (b, t_b)))
        differs = [p != q and not (math.isnan(p) and math.isnan(q)) for p, q in zip(x, y, strict=True)]
        apart = [abs(p - q) if d else 0.0 for p, q, d in zip(x, y, differs, strict=True)]
        rows += any(differs)
        first = at if first is None and any(differs) else first
        beyond = (
            at
            if beyond is None and any(d and not s <= tolerance for d, s in zip(differs, apart, strict=True))
            else beyond
        )
        largest = max([largest, *(s for s in apart if math.isfinite(s))])
    return first, beyond, largest, rows


@pytest.mark.parametrize("seed", range(25))
def test_by_time_it_says_what_plain_loops_say(pair, seed):
    random = np.random.default_rng(seed)
    tracks = []
    for _ in range(2):
        rows = int(random.integers(1, 60))
        t_ns = np.cumsum(random.integers(5_000, 40_000_000, rows))
        tracks.append((random.choice([0.0, 0.5, 1.0, np.nan], (rows, 2), p=[0.5, 0.2, 0.2, 0.1]), t_ns))
    offset = int(random.integers(-200, 200)) * 1_000_000
    shift = Shift.of(offset)
    found = compared(pair({"x": tracks[0]}, {"x": tracks[1]}), shift, 0.6)["x"]
    (a, t_a), (b, t_b) = tracks
    wanted = oracle(a, (t_a + shift.a_ns).tolist(), b, (t_b + shift.b_ns).tolist(), 0.6)
    told = [None if each is None else round(each.t_ms * 1e6) for each in (found.first, found.beyond)]
    assert (*told, 0.0 if found.largest is None else found.largest.distance, found.different_rows) == wanted


def test_a_large_stream_is_compared_in_parts(pair):
    rows = 300_000  # more than one part
    a = np.zeros((rows, 3), np.float32)
    b = a.copy()
    b[250_000, 1] = 2
    b[299_999, 0] = 1
    found = compared(pair({"o": a}, {"o": b}))["o"]
    assert (found.first.row_a, found.largest.row_a, found.different_rows) == (250_000, 250_000, 2)
    assert found.rms == pytest.approx(math.sqrt(5 / (3 * rows)))
