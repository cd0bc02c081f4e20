"""``robotrace import``: what it finds, shows, brings in, and says of what it cannot read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import robotrace

pytest.importorskip("h5py")
pytest.importorskip("pyarrow")
pytest.importorskip("huggingface_hub")

import h5py
import numpy as np
from lerobot_datasets import write_dataset

from robotrace.cli.recordings import ImportOptions, find_recordings
from robotrace.deliver.spool import open_spool
from robotrace.errors import ConfigurationError
from robotrace.testing import FaultServer


def demos(path: Path, count: int = 3) -> Path:
    with h5py.File(path, "w") as file:
        for number in range(count):
            file[f"data/demo_{number}/actions"] = np.full((4, 2), number, np.float32)
            file[f"data/demo_{number}/obs/joints"] = np.full((4, 3), number, np.float64)
    return path


def names() -> list[str]:
    return sorted(
        manifest["create"]["name"] for entry in open_spool().sealed_episodes() if (manifest := entry.manifest())
    )


def test_a_dry_run_shows_and_does_nothing(tmp_path: Path) -> None:
    demos(tmp_path / "lift.hdf5")
    shown = robotrace("import", "--dry-run", "--episodes", "0,2", str(tmp_path / "lift.hdf5"))
    assert shown.returncode == 0, shown.stderr
    assert (
        "lift.hdf5: HDF5 (robomimic), 3 episodes, 12 rows at 20 fps (the file does not say; --fps does)" in shown.stdout
    )
    assert "obs/joints  float64[3]" in shown.stdout
    assert "2 episodes of" in shown.stdout
    told = robotrace("import", "--dry-run", "--json", str(write_dataset(tmp_path / "picks")), str(tmp_path))
    recordings = json.loads(told.stdout)["recordings"]
    assert [(item["format"], item["episodes"]) for item in recordings] == [("lerobot", [0, 1, 2]), ("hdf5", [0, 1, 2])]
    assert recordings[0]["streams"]["observation.state"] == ["float32", [3]]
    assert recordings[0]["cameras"] == ["observation.images.top", "observation.images.wrist"]
    assert recordings[0]["bytes"] > 0
    assert not names()


def test_recordings_of_several_formats_come_in_once(tmp_path: Path) -> None:
    paths = [str(demos(tmp_path / "lift.hdf5")), str(write_dataset(tmp_path / "picks"))]
    done = robotrace("import", *paths, "--episodes", "0-1", "--policy-version", "human", "--metadata", "operator=eve")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["4 episodes imported", "! 4 episodes waiting on this machine"]
    assert "no deployment is configured" in done.stderr
    assert names() == ["lift demo_0", "lift demo_1", "picks 0", "picks 1"]
    for entry in open_spool().sealed_episodes():
        create = (entry.manifest() or {})["create"]
        assert (create["policy_version"], create["metadata"]["operator"]) == ("human", "eve")
    again = robotrace("import", *paths, "--policy-version", "human", "--metadata", "operator=eve")
    assert again.stdout.splitlines()[:2] == [
        "2 episodes imported",
        "4 episodes imported before (--again imports once more)",
    ]
    assert len(names()) == 6


def test_they_go_to_the_deployment_that_is_named(tmp_path: Path) -> None:
    demos(tmp_path / "lift.hdf5")
    with FaultServer() as server:
        done = robotrace(
            "import",
            str(tmp_path / "lift.hdf5"),
            "--name-template",
            "lift {episode_index:02d}",
            "--base-url",
            server.url,
            "--json",
            ROBOTRACE_API_KEY="rt_test",
        )
        assert done.returncode == 0, done.stderr
        (recording,) = json.loads(done.stdout)["recordings"]
        assert [episode["state"] for episode in recording["episodes"]] == ["delivered"] * 3
        assert sorted(stored.create["name"] for stored in server.episodes.values()) == ["lift 00", "lift 01", "lift 02"]
    assert not names()


def test_what_cannot_be_read_is_a_line_each_and_the_rest_comes_in(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "picks", "v2.1")
    (root / "data/chunk-000/episode_000001.parquet").unlink()
    (tmp_path / "torn.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    done = robotrace("import", str(root), str(tmp_path / "torn.hdf5"), str(tmp_path / "none.mcap"))
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("! ")]
    assert lines[0] == f"! {root} episode 1: data/chunk-000/episode_000001.parquet is missing"
    assert lines[1].startswith(f"! {tmp_path}/torn.hdf5: torn.hdf5 cannot be read: ")
    assert lines[2] == f"! {tmp_path}/none.mcap is not there"
    assert len(lines) == 3
    assert done.stdout.splitlines()[0] == "2 episodes imported"
    assert done.stdout.splitlines()[-1] == "! 3 failed"


@pytest.mark.parametrize("where", ["seal.before_rename", "seal.after_rename"])
def test_an_import_that_was_killed_goes_on_where_it_stopped(tmp_path: Path, where: str) -> None:
    path = str(demos(tmp_path / "lift.hdf5"))
    killed = robotrace("import", path, ROBOTRACE_FAILPOINTS=f"{where}=kill@2")
    assert killed.returncode < 0
    with FaultServer() as server:
        done = robotrace("import", path, "--base-url", server.url, ROBOTRACE_API_KEY="rt_test")
        assert done.returncode == 0, done.stderr
        assert [stored.creates for stored in server.episodes.values()] == [1, 1, 1]
        assert {stored.create["name"] for stored in server.episodes.values()} == {f"lift demo_{k}" for k in range(3)}
    assert not names()
    assert not list(open_spool().recording.iterdir())


@pytest.mark.parametrize("text", ["x", "3-", "5-2", "1,,2", "-1", "0-99999999999"])
def test_a_list_of_episodes_that_is_none_is_wrong_usage(tmp_path: Path, text: str) -> None:
    done = robotrace("import", str(demos(tmp_path / "lift.hdf5", 1)), f"--episodes={text}")
    assert done.returncode == 2
    assert "--episodes" in done.stderr


def test_an_episode_that_is_not_there_is_said_before_anything_is_done(tmp_path: Path) -> None:
    done = robotrace("import", str(demos(tmp_path / "lift.hdf5")), "--episodes", "1-5")
    assert done.returncode == 1
    assert "there is no episode 3; there is 0 to 2" in done.stderr
    assert not names()


@pytest.mark.parametrize("name", ["notes.txt", "empty", "org/name/more"])
def test_what_is_no_recording_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError):
        list(find_recordings(str(tmp_path / name), ImportOptions()))
