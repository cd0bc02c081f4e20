"""Episodes as one table."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from robotrace.export import ExportError, Window, export_episode

from .exported import ROWS, SLOW_NS, T_NS, TEXTS, ExportedEpisode, episode, values, write


def table(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


def column(path: Path, name: str) -> list[tuple[str, str]]:
    header, rows = table(path)
    at = header.index(name)
    return [(row[0], row[at]) for row in rows if row[at] != ""]


def exported(tmp_path: Path, of: ExportedEpisode, **window: object) -> Path:
    given = Window(**window) if window else None  # type: ignore[arg-type]
    return export_episode(of, "csv", tmp_path / "out.csv", window=given).path


def test_every_value_reads_back_as_the_same_value_of_its_type(tmp_path: Path) -> None:
    path = exported(tmp_path, episode(tmp_path, video=False))
    _, rows = table(path)
    assert len(rows) == ROWS + len(SLOW_NS)  # times of its own are rows of its own
    for name, value in values().items():
        indices = list(np.ndindex(*value.shape[1:]))
        for index in indices:
            label = f"{name}[{','.join(map(str, index))}]" if index else name
            read = column(path, label)
            assert [round(float(time) * 1e9) for time, _ in read] == T_NS.tolist()
            convert = (lambda text: text == "1") if value.dtype == bool else int if value.dtype.kind in "iu" else float
            back = np.array([convert(text) for _, text in read], value.dtype)
            whole = value[(slice(None), *index)]
            assert np.array_equal(back, whole, equal_nan=value.dtype.kind == "f")
            assert np.array_equal(np.signbit(back), np.signbit(whole)) if value.dtype.kind == "f" else True


def test_a_float32_gains_no_digits(tmp_path: Path) -> None:
    arrays = {"x/value": np.array([0.1, 1 / 3], np.float32), "x/_t_ns": np.array([0, 1])}
    write(tmp_path / "sensors.npz", arrays)
    path = exported(tmp_path, ExportedEpisode("id", {}, {}, {"sensors": tmp_path / "sensors.npz"}))
    assert path.read_bytes() == b"time_s,x\r\n0.000000000,0.1\r\n0.000000001,0.33333334\r\n"


def test_texts_with_commas_and_lines_come_back(tmp_path: Path) -> None:
    path = exported(tmp_path, episode(tmp_path, video=False))
    header, rows = table(path)
    at = header.index("task")
    times = [f"{time / 1e9:.9f}" for time in T_NS[:4]]
    assert [row[at] for row in rows if row[0] in times] == TEXTS


def test_what_does_not_fit_is_left_out_and_said(tmp_path: Path) -> None:
    wide = {"image/value": np.zeros((2, 40, 40), np.uint8), "image/_t_ns": np.arange(2)}
    done = export_episode(episode(tmp_path, video=False, **wide), "csv", tmp_path / "out.csv")
    assert done.left_out == {
        "contacts": "its rows are of several lengths",
        "image": "1600 values a row are too many for a table",
        "lonely": "it has no times",
    }


def test_a_window_and_some_streams(tmp_path: Path) -> None:
    of = episode(tmp_path, video=False)
    path = exported(
        tmp_path, of, start_ns=int(T_NS[3]), end_ns=int(T_NS[9]), streams=frozenset({"observation", "action"})
    )
    header, rows = table(path)
    assert header == ["time_s", *(f"observation[{i}]" for i in range(3)), "action[0]", "action[1]"]
    assert [round(float(row[0]) * 1e9) for row in rows] == T_NS[3:10].tolist()
    with pytest.raises(ExportError, match="no stream 'nothing'"):
        exported(tmp_path, of, streams=frozenset({"nothing"}))


def test_two_rows_at_one_time_are_two_rows_and_times_that_go_back_are_sorted(tmp_path: Path) -> None:
    arrays = {
        "a/value": np.array([1, 2, 3]),
        "a/_t_ns": np.array([5, 5, 7]),
        "b/value": np.array([30, 10, 20]),
        "b/_t_ns": np.array([9, 5, 7]),
    }
    write(tmp_path / "sensors.npz", arrays)
    path = exported(tmp_path, ExportedEpisode("id", {}, {}, {"sensors": tmp_path / "sensors.npz"}))
    assert [row[1:] for row in table(path)[1]] == [["1", "10"], ["2", ""], ["3", "20"], ["", "30"]]


def test_what_is_refused_leaves_no_file_open(tmp_path: Path) -> None:
    handles = Path("/proc/self/fd")
    if not handles.exists():
        pytest.skip("what a process has open is read in Linux's /proc")
    of = episode(tmp_path, video=False)
    for _ in range(3):
        with pytest.raises(ExportError):
            exported(tmp_path, of, streams=frozenset({"nothing"}))
        with pytest.raises(ExportError):
            export_episode(of, "csv", tmp_path / "out.csv", most_bytes=1)
    # A file of this folder that is deleted and open is named there, too.
    assert [path for path in handles.iterdir() if os.path.realpath(path).startswith(str(tmp_path))] == []
    assert list(tmp_path.glob(".*.part")) == []
