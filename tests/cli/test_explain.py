"""``robotrace explain``: folders, the spool, and a deployment."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import one_line, robotrace
from wire_server import EPISODE_ID, WireServer

gym = pytest.importorskip("gymnasium")
pytest.importorskip("av")

from held_episodes import EPISODE, arm, detail, hold  # noqa: E402
from recorded import RecordedEpisode  # noqa: E402

pytestmark = pytest.mark.usefixtures("arm")


def broken() -> RecordedEpisode:
    """An episode whose environment raised in its fifth step."""
    episode = arm()
    manifest = json.loads((episode.folder / "manifest.json").read_text())
    message = "no\x1b[31m torque"
    failure = {"failure_reason": f"ValueError: {message}", "exception": {"type": "ValueError", "message": message}}
    manifest["finalize"].update(status="failed", failure_time_s=0.25)
    manifest["finalize"]["metadata"].update(failure)
    (episode.folder / "manifest.json").write_text(json.dumps(manifest))
    return RecordedEpisode(episode.folder, manifest)


@pytest.mark.parametrize("how", ["folder", "uuid", "prefix"])
def test_an_episode_of_the_spool_is_explained(how: str) -> None:
    episode = broken()
    uuid = episode.manifest["uuid"]
    named = {"folder": str(episode.folder), "uuid": uuid, "prefix": uuid[:10]}[how]
    result = robotrace("explain", named)
    assert (result.returncode, result.stderr) == (0, "")
    head, title, description, step, *rest = result.stdout.splitlines()
    assert head.startswith(uuid)
    assert head.endswith("failed, 1 finding")
    assert title == "    1. ValueError was raised at 0.25 s  [exception, certain 0.98]"
    assert description == "       ValueError: no?[31m torque."
    assert step.startswith("       next: Read the traceback")
    assert rest[0].startswith("    not judged: ")


def test_an_episode_in_which_nothing_is_found_says_so() -> None:
    result = robotrace("explain", str(arm().folder))
    assert result.returncode == 0
    assert result.stdout.splitlines()[0].endswith("ready, nothing found")


def test_the_document_has_every_finding_in_order(tmp_path: Path) -> None:
    first, second = broken(), arm()
    (tmp_path / "nothing").mkdir()
    names = tmp_path / "names.txt"
    names.write_text(f"{first.folder}\n{second.folder}\n{tmp_path / 'nothing'}\n")
    result = robotrace("explain", f"@{names}", "--json")
    assert result.returncode == 1
    assert "nothing holds no episode" in result.stderr
    told = json.loads(result.stdout)
    assert [item["episode"] for item in told["episodes"]] == [first.manifest["uuid"], second.manifest["uuid"]]
    (finding,) = told["episodes"][0]["findings"]
    assert (finding["code"], finding["onset_s"], finding["evidence"]["type"]) == ("exception", 0.25, "ValueError")
    assert told["episodes"][1]["findings"] == []
    assert {item["what"] for item in told["episodes"][1]["skipped"]} >= {"environment_changed", "battery"}
    assert [item["error"] for item in told["not_found"]]


def test_an_episode_of_a_deployment_is_explained_with_the_verdict_it_has(
    at: Callable[..., Any], server: WireServer
) -> None:
    from wire_server import Answer

    episode = broken()
    hold(server, episode)
    report = {"verdict": "diverged", "differences": [{"name": "numpy", "recorded": "1.0", "here": "2.0"}]}
    answer = {**detail(episode), "status": "failed", "failure_time_s": 0.25, "reproduction": report}
    server.on("GET", EPISODE, Answer(200, answer))
    result = at("explain", EPISODE_ID, "--json")
    assert result.returncode == 0, result.stderr
    (told,) = json.loads(result.stdout)["episodes"]
    assert [item["code"] for item in told["findings"]] == ["exception", "environment_changed"]


def test_a_downloaded_folder_is_explained(at: Callable[..., Any], server: WireServer, tmp_path: Path) -> None:
    hold(server, broken())
    assert at("episodes", "download", EPISODE_ID, "--output", str(tmp_path / "there")).returncode == 0
    result = robotrace("explain", str(tmp_path / "there"))
    assert result.returncode == 0, result.stderr
    assert "ValueError was raised" in result.stdout


def test_files_that_are_gone_are_said(tmp_path: Path) -> None:
    folder = shutil.copytree(broken().folder, tmp_path / "copy")
    (folder / "sensors.npz").unlink()
    result = robotrace("explain", str(folder), "--json")
    assert result.returncode == 0
    skipped = json.loads(result.stdout)["episodes"][0]["skipped"]
    assert any(item["what"] == "sensors" and "cannot be read" in item["reason"] for item in skipped)


def test_what_is_nowhere_is_said_in_one_line() -> None:
    assert "neither a folder nor in the spool" in one_line(robotrace("explain", "nosuchepisode"))
