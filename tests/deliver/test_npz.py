from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from robotrace.deliver.npz import Member, write_npz

np = pytest.importorskip("numpy")

ARRAYS = {
    "observation/value": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "camera/value": np.arange(2 * 5 * 4 * 3, dtype=np.uint8).reshape(2, 5, 4, 3),
    "terminated/value": np.array([False, True]),
    "_t_ns": np.array([0, 2**62], dtype=np.int64),
    "half/value": np.array([1.5, np.nan], dtype=np.float16),
    "complex/value": np.array([1 + 2j]),
    "empty/value": np.zeros((0, 7)),
    "observation.a b/ü/value": np.array([3], dtype=np.uint16),
}


def test_numpy_reads_every_array_back_in_its_dtype_and_shape(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    members = [
        Member(key, array.dtype.str, array.shape, [array.tobytes()[:3], array.tobytes()[3:]])
        for key, array in ARRAYS.items()
    ]
    write_npz(path, members)
    with np.load(path, allow_pickle=False) as loaded:
        assert set(loaded) == set(ARRAYS)
        for key, array in ARRAYS.items():
            assert loaded[key].dtype == array.dtype
            assert loaded[key].shape == array.shape
            np.testing.assert_array_equal(loaded[key], array)


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, [Member("x", "<i8", (2,), [bytes(16)])])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_deflated_member_is_smaller_and_reads_the_same(tmp_path: Path) -> None:
    frames = np.zeros((10, 84, 84), np.uint8)
    path = tmp_path / "a.npz"
    data = frames.tobytes()
    names = ("before/value", "small/value", "after/value")
    write_npz(path, [Member(name, "|u1", frames.shape, [data], deflate=name == "small/value") for name in names])
    with zipfile.ZipFile(path) as archive:
        sizes = [info.compress_size for info in archive.infolist()]
    assert sizes[1] < sizes[0] / 50
    assert sizes[2] == sizes[0] > frames.nbytes
    with np.load(path, allow_pickle=False) as loaded:
        np.testing.assert_array_equal(loaded["small/value"], frames)
