"""NPZ files as the binary answer that charts are drawn from."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from robotrace.serve.series import SeriesError, decimate, read_series
from robotrace.serve.stream_facts import StreamFacts

MS = 1_000_000


def clock(rows, step=MS):
    return np.arange(rows, dtype=np.int64) * step


@pytest.fixture
def series(write_npz, decode_series):
    def read(arrays, **window):
        return decode_series(read_series([("sensors", write_npz(arrays))], **window))

    return read


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ">f4", np.int64, np.uint8, np.int16, np.bool_])
@pytest.mark.parametrize("row", [(), (1,), (4,), (2, 3)])
def test_numbers_survive_the_round_trip(series, dtype, row):
    values = np.random.default_rng(0).integers(0, 2, (7, *row)).astype(dtype)
    answer = series({"x/value": values, "x/_t_ns": clock(7)})
    stream = answer.streams["x"]
    assert (stream["dtype"], stream["shape"]) == (np.dtype(dtype).name, list(row))
    assert (stream["count"], stream["rows"], stream["decimated"]) == (7, 7, False)
    np.testing.assert_array_equal(answer.values("x"), values.reshape(7, -1).T.astype(np.float32))
    np.testing.assert_array_equal(answer.times("x"), np.arange(7))


def test_nan_and_infinity_stay_what_they_are(series):
    values = np.array([1.5, np.nan, np.inf, -np.inf, 1e300])
    answer = series({"x/value": values, "x/_t_ns": clock(5)})
    np.testing.assert_array_equal(answer.values("x")[0], [1.5, np.nan, np.inf, -np.inf, np.inf])


def test_columns_are_labelled_by_their_index(series):
    answer = series(
        {
            name + suffix: array
            for name, array in {"a": np.zeros(2), "b": np.zeros((2, 2)), "c": np.zeros((2, 2, 2))}.items()
            for suffix, array in (("/value", array), ("/_t_ns", clock(2)))
        }
    )
    assert {name: stream["labels"] for name, stream in answer.streams.items()} == {
        "a": [""],
        "b": ["0", "1"],
        "c": ["0,0", "0,1", "1,0", "1,1"],
    }


def test_fields_of_a_topic_share_its_clock(series):
    arrays = {"/arm/state/position": np.ones((2, 3)), "/arm/state/effort": np.zeros(2), "/arm/state/_t_ns": clock(2)}
    answer = series(arrays)
    assert set(answer.streams) == {"/arm/state/position", "/arm/state/effort"}
    assert answer.times("/arm/state/effort").tolist() == [0, 1]


def test_what_no_chart_can_show_is_listed_with_its_reason(series):
    answer = series(
        {
            "camera/value": np.zeros((3, 84, 84, 3), dtype=np.uint8),
            "camera/_t_ns": clock(3),
            "wall_clock/value": clock(3),
            "wall_clock/_t_ns": clock(3),
            "dates/value": np.array(["2026-01-01"] * 3, dtype="M8[D]"),
            "dates/_t_ns": clock(3),
            "complex/value": np.zeros(3, dtype=complex),
            "complex/_t_ns": clock(3),
            "timeless/value": np.zeros(3),
            "float_time/value": np.zeros(3),
            "float_time/_t_ns": np.zeros(3),
            "single/value": np.float64(3),
            "single/_t_ns": clock(1),
            "empty_rows/value": np.zeros((3, 0)),
            "empty_rows/_t_ns": clock(3),
            "bare": np.zeros(3),
        }
    )
    assert answer.streams == {}
    assert answer.skipped.pop("wall_clock") == "clock"
    assert "image" in answer.skipped.pop("camera")
    assert {name: reason.split()[0] for name, reason in answer.skipped.items()} == {
        "dates": "not",
        "complex": "not",
        "timeless": "no",
        "float_time": "no",
        "single": "a",
        "empty_rows": "rows",
        "bare": "no",
    }
    camera = next(stream for stream in answer.header["skipped"] if stream["name"] == "camera")
    assert camera == {
        "name": "camera",
        "artifact": "sensors",
        "dtype": "uint8",
        "shape": [84, 84, 3],
        "count": 3,
        "reason": "21168 values a row: an image rather than a series",
    }


def test_a_stream_without_rows_is_sent_empty(series):
    answer = series({"x/value": np.zeros((0, 4)), "x/_t_ns": clock(0)})
    assert answer.values("x").shape == (4, 0)


def test_values_and_times_of_different_length_are_cut_to_the_shorter(series):
    answer = series({"x/value": np.arange(5), "x/_t_ns": clock(3)})
    assert (answer.streams["x"]["count"], answer.values("x").tolist()) == (5, [[0, 1, 2]])


def test_times_out_of_order_are_sorted(series):
    answer = series({"x/value": np.array([3, 1, 2]), "x/_t_ns": np.array([30, 10, 20]) * MS})
    assert answer.times("x").tolist() == [10, 20, 30]
    assert answer.values("x").tolist() == [[1, 2, 3]]


def test_the_payload_is_aligned_for_typed_arrays(series):
    for rows in range(1, 6):
        answer = series(
            {
                f"{'ä' * n}/{tail}": array
                for n in range(1, 4)
                for tail, array in (("value", np.zeros((rows, n))), ("_t_ns", clock(rows)))
            }
        )
        assert answer.payload_start % 8 == 0
        for stream in answer.streams.values():
            assert stream["time_offset"] % 8 == 0
            assert stream["values_offset"] % 4 == 0


@pytest.mark.parametrize(
    ("window", "times"),
    [
        ({}, list(range(10))),
        ({"start_ms": 3, "end_ms": 5}, [2, 3, 4, 5, 6]),
        ({"start_ms": 3.5, "end_ms": 3.6}, [3, 4]),
        ({"start_ms": 8}, [7, 8, 9]),
        ({"end_ms": 1}, [0, 1, 2]),
        ({"start_ms": 50, "end_ms": 60}, [9]),
        ({"start_ms": -9, "end_ms": -5}, [0]),
    ],
)
def test_a_window_has_one_neighbour_on_each_side(series, window, times):
    answer = series({"x/value": np.arange(10), "x/_t_ns": clock(10)}, **window)
    assert answer.times("x").tolist() == times
    assert answer.streams["x"]["count"] == 10


def test_a_long_stream_is_thinned_out_and_keeps_its_extremes(series):
    values = np.sin(np.arange(200_000) / 1000)
    values[123_456], values[54_321] = 50, -50
    answer = series({"x/value": values, "x/_t_ns": clock(200_000)}, points=1000)
    stream = answer.streams["x"]
    assert stream["decimated"] is True
    assert (stream["count"], stream["rows"]) == (200_000, 2000)
    times, drawn = answer.times("x"), answer.values("x")[0]
    assert np.all(np.diff(times) >= 0)
    # One column: value and time both exact.
    assert times[drawn.argmax()] == 123_456
    assert times[drawn.argmin()] == 54_321
    np.testing.assert_array_equal(drawn, values[times.astype(int)].astype(np.float32))


def test_each_column_keeps_its_own_extremes(series):
    values = np.zeros((60_001, 3))
    for column, row in enumerate((100, 30_000, 60_000)):
        values[row, column], values[row - 7, column] = 9, -9
    answer = series({"x/value": values, "x/_t_ns": clock(60_001)})
    drawn, times = answer.values("x"), answer.times("x")
    assert drawn.max(axis=1).tolist() == [9, 9, 9]
    assert drawn.min(axis=1).tolist() == [-9, -9, -9]
    for column, row in enumerate((100, 30_000, 60_000)):
        assert abs(times[drawn[column].argmax()] - row) <= 60_001 / 4000 + 1


def test_a_window_of_a_long_stream_is_exact_once_it_is_short_enough(series):
    values = np.arange(200_000)
    answer = series({"x/value": values, "x/_t_ns": clock(200_000)}, start_ms=1000, end_ms=40_000)
    assert answer.streams["x"]["decimated"] is False
    assert answer.values("x")[0].tolist() == list(range(999, 40_002))


@pytest.mark.parametrize("rows", [7, 8, 9, 1000, 1001])
@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.bool_])
def test_every_bucket_keeps_its_smallest_and_largest_value_in_order(rows, dtype):
    values = np.random.default_rng(rows).integers(0, 2 if dtype is np.bool_ else 1000, (rows, 1)).astype(dtype)
    times, kept = decimate(np.arange(rows, dtype=float), values, 4)
    size = -(-rows // 4)
    buckets = [values[start : start + size] for start in range(0, rows, size)]
    assert len(kept) == 2 * len(buckets)
    for bucket, pair in zip(buckets, kept.reshape(-1, 2), strict=True):
        assert sorted(pair) == [bucket.min(), bucket.max()]
    assert np.all(np.diff(times) >= 0)
    np.testing.assert_array_equal(values[times.astype(int)], kept)


def test_a_bucket_is_nan_only_where_it_has_nothing_else():
    values = np.array([1, np.nan, 5, 2, np.nan, np.nan, np.nan, np.nan])[:, np.newaxis]
    _, kept = decimate(np.arange(8.0), values, 2)
    np.testing.assert_array_equal(kept[:, 0], [1, 5, np.nan, np.nan])


def test_a_file_that_is_no_npz_is_listed_instead_of_failing(tmp_path, decode_series):
    path = tmp_path / "sensors"
    path.write_bytes(b"PAR1 and so on")
    answer = decode_series(read_series([("sensors", path)]))
    assert "not an NPZ file" in answer.skipped["sensors"]


def test_damaged_files_are_errors_of_their_own_never_others(npz, tmp_path):
    """Every way to damage a file ends in an answer or a SeriesError."""
    whole = npz({"x/value": np.ones((20, 2)), "x/_t_ns": clock(20)})
    random = np.random.default_rng(0)
    path = tmp_path / "broken.npz"
    failures = 0
    for _ in range(300):
        content = bytearray(whole)
        for position in random.integers(2, len(whole), 3):
            content[position] = random.integers(0, 256)
        path.write_bytes(
            content[: random.integers(len(whole) // 2, len(whole) + 1)] if random.random() < 0.3 else content
        )
        try:
            read_series([("sensors", path)])
        except SeriesError:
            failures += 1
    assert failures > 50


def with_member(path, name, content, *, claimed=None, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(name, content)
        archive.writestr("x/_t_ns.npy", npy(clock(3)))
        if claimed is not None:
            archive.infolist()[0].file_size = claimed
    return path


def npy(array, **header):
    file = io.BytesIO()
    if header:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, **header})
    else:
        np.lib.format.write_array(file, array)
    return file.getvalue()


def test_an_array_that_claims_more_than_the_archive_holds_is_refused(tmp_path):
    path = with_member(tmp_path / "x.npz", "x/value.npy", npy(None, shape=(10**12,)))
    with pytest.raises(SeriesError, match="claims"):
        read_series([("sensors", path)])


def test_an_archive_that_claims_more_than_2_gib_is_refused_unread(tmp_path):
    rows = 3 * 2**30 // 8
    path = with_member(tmp_path / "x.npz", "x/value.npy", npy(None, shape=(rows,)), claimed=rows * 8 + 1000)
    with pytest.raises(SeriesError, match="more than 2147483648 bytes"):
        read_series([("sensors", path)])


def test_an_archive_of_countless_arrays_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(10_001):
            archive.writestr(f"{number}.npy", b"")
    with pytest.raises(SeriesError, match="arrays"):
        read_series([("sensors", path)])


def test_a_packing_that_numpy_does_not_write_is_refused(tmp_path):
    path = with_member(tmp_path / "x.npz", "x/value.npy", npy(np.ones(3)), compression=zipfile.ZIP_LZMA)
    with pytest.raises(SeriesError, match="packed"):
        read_series([("sensors", path)])


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (type(self.mark).touch, (self.mark,))


def test_pickled_objects_are_never_loaded(tmp_path, decode_series):
    mark = tmp_path / "mark"
    array = np.empty(3, dtype=object)
    array[:] = [Bomb(mark)] * 3
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (3,)})
    path = with_member(tmp_path / "x.npz", "x/value.npy", header.getvalue() + pickle.dumps(array))
    assert decode_series(read_series([("sensors", path)])).skipped == {"x": "not numeric"}
    assert not mark.exists()


def test_rows_of_different_lengths_are_no_chart_and_what_lies_beside_them_is_no_stream(series):
    answer = series(
        {
            "text/value": np.frombuffer(b"abc", np.uint8),
            "text/_offsets": np.array([0, 1, 3]),
            "text/_offsets_1": np.array([0, 1, 3]),
            "text/_t_ns": clock(2),
            "some/value": np.array([1.0]),
            "some/_rows": np.array([1]),
            "some/_structure": np.frombuffer(b"{}", np.uint8),
            "some/_t_ns": clock(1),
        }
    )
    assert answer.skipped == {"text": "rows of different lengths"}
    assert list(answer.streams) == ["some"]


def text(*rows):
    """The arrays of a stream of texts, ``value`` and ``_offsets``."""
    encoded = [row.encode() for row in rows]
    offsets = np.cumsum([0, *map(len, encoded)])
    return {"value": np.frombuffer(b"".join(encoded), np.uint8), "_offsets": offsets, "_t_ns": clock(len(rows))}


def of(stream, arrays):
    return {f"{stream}/{key}": array for key, array in arrays.items()}


def test_texts_are_sent_as_the_times_at_which_they_changed(series):
    answer = series(
        of("phase", text("reach", "reach", "grasp", "", "grünes Licht\n"))
        | {"said/value": np.array(["a", "b"]), "said/_t_ns": clock(2)}
    )
    said, phase = sorted(answer.header["texts"], key=lambda one: one["count"])
    rows = [[0, "reach"], [2, "grasp"], [3, ""], [4, "grünes Licht\n"]]
    assert phase == {"name": "phase", "artifact": "sensors", "count": 5, "changes": 4, "rows": rows}
    assert said["rows"] == [[0, "a"], [1, "b"]]
    assert (answer.streams, answer.skipped) == ({}, {})


def test_of_many_long_texts_the_beginnings_of_the_first_are_sent(series):
    [found] = series(of("log", text(*(f"{number:>400}" for number in range(600))))).header["texts"]
    assert (found["count"], found["changes"], len(found["rows"])) == (600, 600, 500)
    assert {len(row[1]) for row in found["rows"]} == {301}


@pytest.mark.parametrize(
    "arrays",
    [
        text("a") | {"value": np.array([200], np.uint8)},  # no UTF-8
        text("a\0"),
        text("a") | {"value": np.array([65], np.int64)},
        text("a", "b") | {"_offsets": np.array([[0, 1], [1, 2]])},
        text("a", "b") | {"_offsets_1": np.array([0, 1, 2])},
        text("a", "b") | {"_t_ns": np.zeros(2)},
    ],
)
def test_rows_of_different_lengths_that_are_no_text_are_skipped(series, arrays):
    answer = series(of("x", arrays))
    assert (answer.header["texts"], answer.skipped) == ([], {"x": "rows of different lengths"})


def test_offsets_that_point_elsewhere_do_no_harm(series):
    arrays = text("a", "b", "c") | {"_offsets": np.array([-(2**62), 2**62, 1, 0])}
    assert len(series(of("x", arrays)).header["texts"]) == 1


def test_only_the_streams_asked_for_are_sent(series):
    arrays = {f"{name}/{key}": array for name in "abc" for key, array in (("value", np.ones(3)), ("_t_ns", clock(3)))}
    answer = series(arrays | {"image/value": np.zeros((3, 99)), "image/_t_ns": clock(3)}, names=["c", "a", "nowhere"])
    assert list(answer.streams) == ["a", "c"]
    assert answer.skipped == {}


def test_what_does_not_fit_is_described_and_comes_when_asked_for(series):
    names = ["info.x", "reward", "action", "observation.q"]
    arrays = {f"{name}/value": np.full(1000, index) for index, name in enumerate(names)}
    arrays |= {f"{name}/_t_ns": clock(1000) for name in names}
    answer = series(arrays, most_bytes=30_000)  # 12,000 each
    assert list(answer.streams) == ["observation.q", "action", "reward", "info.x"]
    assert [stream.get("left", False) for stream in answer.streams.values()] == [False, False, True, True]
    left = answer.streams["info.x"]
    assert (left["count"], left["rows"], left["end_ms"], left["labels"]) == (1000, 0, 999.0, [""])
    assert answer.values("info.x").shape == (1, 0)
    assert series(arrays, names=["info.x"]).values("info.x").tolist() == [[0] * 1000]
    # Something is always sent, and what is thinned out counts as that.
    assert "left" not in series(arrays, most_bytes=1).streams["observation.q"]
    long = {f"{name}/value": np.zeros(100_000) for name in "ab"} | {f"{name}/_t_ns": clock(100_000) for name in "ab"}
    assert not any("left" in stream for stream in series(long, most_bytes=200_000).streams.values())


def test_the_header_says_what_is_known_of_a_stream(series):
    facts = StreamFacts({"streams": {"x": {"names": ["l", "r"], "unit": "N", "high": 3}}})
    stream = series({"x/value": np.zeros((3, 2)), "x/_t_ns": clock(3)}, facts=facts).streams["x"]
    assert (stream["labels"], stream["units"], stream["high"]) == (["l", "r"], ["N", "N"], [3, 3])
    assert "low" not in stream
