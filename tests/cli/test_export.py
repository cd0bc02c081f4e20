"""``robotrace export``: folders, the spool, and a deployment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import one_line, robotrace
from wire_server import EPISODE_ID, Answer, WireServer

gym = pytest.importorskip("gymnasium")
pytest.importorskip("av")
pytest.importorskip("mcap")

from held_episodes import EPISODE, arm, detail, hold  # noqa: E402

pytestmark = pytest.mark.usefixtures("arm")


def test_an_episode_of_the_spool_is_exported_and_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    uuid = arm().manifest["uuid"]
    result = robotrace("export", uuid[:10], "-o", str(tmp_path / "out"), "--json")
    assert result.returncode == 0, result.stderr
    (told,) = json.loads(result.stdout)["exported"]
    path = tmp_path / "out" / f"{uuid}.mcap"
    assert (told["episode"], told["path"], told["size"]) == (uuid, str(path), path.stat().st_size)
    before = path.read_bytes()
    again = robotrace("export", uuid, "-o", str(tmp_path / "out"))
    assert again.returncode == 1
    assert one_line(again) == f"robotrace: {path} exists already; --force replaces it"
    assert path.read_bytes() == before
    forced = robotrace("export", uuid, "-o", str(tmp_path / "out"), "--force")
    assert forced.returncode == 0, forced.stderr
    assert forced.stdout.startswith(f"{path}  ")
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_one_of_several_that_is_not_there_is_a_line(tmp_path: Path) -> None:
    episode = arm()
    (tmp_path / "nothing").mkdir()
    result = robotrace("export", str(episode.folder), str(tmp_path / "nothing"), "--format", "csv", "-o", str(tmp_path))
    assert result.returncode == 1
    assert "holds no episode" in result.stderr
    lines = (tmp_path / f"{episode.manifest['uuid']}.csv").read_text().splitlines()
    assert lines[0].startswith("time_s,observation")
    assert len(lines) > 12


def test_an_episode_of_a_deployment_is_fetched_with_all_its_files(
    at: Callable[..., Any], server: WireServer, tmp_path: Path
) -> None:
    h5py = pytest.importorskip("h5py")
    episode = arm()
    hold(server, episode)
    video = b"\0\0\0\x18ftypisom"
    listed = [*detail(episode)["artifacts"], {"kind": "video.wrist", "size": len(video), "sha256": None}]
    server.on("GET", EPISODE, Answer(200, {**detail(episode), "artifacts": listed}))
    server.on("GET", f"{EPISODE}/artifact/video.wrist", Answer(200, video))
    result = at("export", EPISODE_ID, "--format", "hdf5", "-o", str(tmp_path))
    assert result.returncode == 0, result.stderr
    with h5py.File(tmp_path / f"{EPISODE_ID}.hdf5") as file:
        assert file.attrs["episode_id"] == EPISODE_ID
        assert file["files/video.wrist"][()].tobytes() == video
        assert "sensors/reward/value" in file
