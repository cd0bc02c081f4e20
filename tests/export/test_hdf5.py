"""Episodes as HDF5, read back by h5py and by the adapter that imports them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")
pytest.importorskip("av")

from robotrace.adapters.hdf5 import encode_episode, scan_file, upload_episode  # noqa: E402
from robotrace.deliver.spool import open_spool  # noqa: E402
from robotrace.errors import RobotraceError  # noqa: E402
from robotrace.export import export_episode  # noqa: E402

from .exported import SLOW_NS, episode, values, write  # noqa: E402


def arrays(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        (one[key].dtype, one[key].shape, one[key].tobytes())
        == (other[key].dtype, other[key].shape, other[key].tobytes())
        for key in one
    )


def test_every_array_is_a_dataset_of_its_own_type(tmp_path: Path) -> None:
    of = episode(tmp_path)
    done = export_episode(of, "hdf5", tmp_path / "out.hdf5")
    with h5py.File(done.path) as file:
        for name, value in values().items():
            read = file[f"sensors/{name}/value"]
            assert (read.dtype, read.shape) == (value.dtype, value.shape)
            assert read[()].tobytes() == value.tobytes()
        assert file["sensors/slow/_t_ns"][()].tolist() == SLOW_NS.tolist()
        assert dict(file.attrs)["policy_version"] == "act-v7"
        assert int(file.attrs["seed"]) == 2**53 + 1
        assert json.loads(file["metadata"][()]) == of.metadata
        assert json.loads(file["otel"][()]) == of.about["otel"]
        assert file["files/video"][()].tobytes() == of.files["video"].read_bytes()


def test_the_adapter_gives_the_same_files_back(tmp_path: Path) -> None:
    fixed = np.array(["grüße", "x", ""])
    of = episode(tmp_path, **{"fixed/value": fixed, "fixed/_t_ns": np.arange(3), "single": np.float32(0.1)})
    done = export_episode(of, "hdf5", tmp_path / "out.hdf5")
    assert done.left_out == {}
    summary = scan_file(done.path)
    assert (summary.layout, summary.episodes[0].name, summary.episodes[0].length) == ("robotrace", "lift #3", 39)
    back = encode_episode(done.path, tmp_path / "back")
    for kind in ("sensors", "actions"):
        assert same(arrays(back.files[kind]), arrays(of.files[kind]))
        with zipfile.ZipFile(back.files[kind]) as now, zipfile.ZipFile(of.files[kind]) as before:
            assert now.comment == before.comment
    assert back.files["video"].read_bytes() == of.files["video"].read_bytes()
    assert back.metadata == of.metadata
    assert (back.fps, back.failure_time_s) == (30.0, 0.5)


def test_an_import_is_the_same_episode(tmp_path: Path) -> None:
    done = export_episode(episode(tmp_path), "hdf5", tmp_path / "out.hdf5")
    imported = upload_episode(done.path)
    assert imported.name == "lift #3"
    (entry,) = open_spool().sealed_episodes()
    manifest = entry.manifest()
    assert manifest is not None
    create, finalize = manifest["create"], manifest["finalize"]
    assert (create["policy_version"], create["seed"], create["source"]) == ("act-v7", 2**53 + 1, "real")
    assert (finalize["status"], finalize["failure_time_s"]) == ("failed", 0.5)
    assert not upload_episode(done.path).is_new
    assert upload_episode(done.path, policy_version="other", name="mine").name == "mine"


def test_names_that_are_no_paths_are_left_out_and_said(tmp_path: Path) -> None:
    of = episode(tmp_path, video=False)
    clock = np.arange(3)
    bad = {"/absolute/value": clock, "a/./value": clock, "x": clock, "x/value": clock}
    write(tmp_path / "sensors.npz", {**bad, "fine/value": clock})
    done = export_episode(of, "hdf5", tmp_path / "out.hdf5")
    assert set(done.left_out) == {"/absolute/value", "a/./value", "x/value"}
    with h5py.File(done.path) as file:
        assert sorted(file["sensors"]) == ["fine", "x"]


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "new.hdf5", "w") as file:
        file.attrs.update({"format": "robotrace", "format_version": 2})
    with pytest.raises(RobotraceError, match="newer version"):
        scan_file(tmp_path / "new.hdf5")
