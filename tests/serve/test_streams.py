"""What the rules get to see of an episode's files, within bounds of memory."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robotrace.serve import streams as streams_module
from robotrace.serve.npz import NpzFile, SeriesError
from robotrace.serve.streams import read_streams


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **{name.replace("__", "/"): value for name, value in arrays.items()})
    return path


def reasons(found: Any) -> dict[str, str]:
    return {item.what: item.reason for item in found.skipped}


def test_streams_come_with_their_times_and_texts_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    names = np.frombuffer(b"abc", np.uint8)
    arrays: dict[str, Any] = {
        "q/value": np.ones((5, 2)),
        "q/_t_ns": np.arange(5),
        "/imu/acc": np.zeros(4),
        "/imu/_t_ns": np.arange(4),
        "text/value": names,
        "text/_offsets": np.arange(3),
        "label/value": np.array(["a"]),
    }
    np.savez(path, **arrays)
    found = read_streams([("sensors", path), ("actions", write(tmp_path / "a.npz", action__value=np.arange(3)))])
    assert [(stream.name, stream.rows) for stream in found.sensors] == [("q", 5), ("/imu/acc", 4)]
    assert [stream.name for stream in found.actions] == ["action"]
    assert found.actions[0].stamps is None
    assert found.skipped == []


def test_the_last_rows_of_a_long_stream_are_read_and_that_is_said(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(streams_module, "_MAX_ROWS", 100)
    rows = np.arange(2500.0).reshape(500, 5)
    stored = write(tmp_path / "s.npz", q__value=rows, q___t_ns=np.arange(500))
    packed = tmp_path / "p.npz"
    np.savez_compressed(packed, **{"q/value": rows, "q/_t_ns": np.arange(500)})
    for path in (stored, packed):
        found = read_streams([("sensors", path)])
        (stream,) = found.sensors
        assert stream.stamps is not None
        np.testing.assert_array_equal(stream.values, rows[400:])
        np.testing.assert_array_equal(stream.stamps, np.arange(400, 500))
        assert reasons(found) == {"q": "only the last 100 of 500 rows were looked at"}


def test_streams_beyond_the_bound_of_memory_are_named(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(streams_module, "_MAX_BYTES", 50_000)
    monkeypatch.setattr(streams_module, "_MAX_STREAM_BYTES", 30_000)
    arrays = {f"s{n}__value": np.zeros((1000, 3)) for n in range(4)}
    found = read_streams([("sensors", write(tmp_path / "s.npz", **arrays, wide__value=np.zeros((2, 9000))))])
    assert sum(stream.values.nbytes for stream in found.sensors) <= 50_000
    assert "only the last 1000" not in reasons(found)["s1"]
    assert reasons(found)["s1"].startswith("only the last")
    assert reasons(found)["wide"].startswith("not looked at: 72000 bytes a row")


def test_an_image_stream_is_named_and_not_unpacked(tmp_path: Path) -> None:
    found = read_streams([("sensors", write(tmp_path / "s.npz", cam__value=np.zeros((3, 84, 84, 3), np.uint8)))])
    assert (found.sensors, list(reasons(found))) == ([], ["cam"])


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n", b"PK\x03\x04rubbish"])
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.npz"
    path.write_bytes(content)
    assert "cannot be read" in reasons(read_streams([("sensors", path)]))["sensors"]
    assert "cannot be read" in reasons(read_streams([("sensors", tmp_path / "gone.npz")]))["sensors"]


def test_an_array_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    np.savez(path, **{"q/value": np.array([{"a": 1}], dtype=object), "r/value": np.ones(3)})
    assert [stream.name for stream in read_streams([("sensors", path)]).sensors] == ["r"]


def test_the_tail_of_an_array_that_does_not_lie_row_by_row_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s.npz", q__value=np.asfortranarray(np.ones((9, 4))))
    with NpzFile(path) as npz:
        with pytest.raises(SeriesError, match="do not lie together"):
            npz.read_tail(npz.members["q/value"], 3)
        assert npz.read_tail(npz.members["q/value"], 9).shape == (9, 4)


def test_a_member_that_claims_more_than_it_has_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 9)})
    path = tmp_path / "s.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("q/value.npy", content.getvalue())
    assert "larger than it is" in reasons(read_streams([("sensors", path)]))["sensors"]
