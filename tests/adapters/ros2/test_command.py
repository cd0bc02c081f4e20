"""``robotrace import`` of bags."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("rosbags")
pytest.importorskip("av")

from command_line import robotrace
from recorded import sealed
from ros2_bags import write_pick_7

from robotrace.testing import FaultServer


def test_a_dry_run_shows_a_bag_and_an_import_brings_it_in_once(tmp_path: Path) -> None:
    write_pick_7(tmp_path / "pick_7")
    (tmp_path / "torn.mcap").write_bytes(b"torn")
    shown = robotrace("import", "--dry-run", str(tmp_path / "pick_7"))
    assert shown.returncode == 0, shown.stderr
    assert "/arm/command  std_msgs/msg/Float64MultiArray" in shown.stdout
    assert not sealed()
    done = robotrace("import", str(tmp_path / "pick_7"), str(tmp_path / "torn.mcap"), "--robot", "arm-2")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("! ")]
    assert line.endswith("torn.mcap cannot be read: torn.mcap: File magic is invalid.")
    assert done.stdout.splitlines()[0] == "1 episode imported"
    (entry,) = sealed()
    assert (entry.create["name"], entry.create["robot"], entry.create["source"]) == ("pick_7", "arm-2", "real")
    again = robotrace("import", str(tmp_path / "pick_7"), "--robot", "arm-2")
    assert again.returncode == 0, again.stderr
    assert len(sealed()) == 1


def test_a_bag_goes_to_the_deployment_that_is_named_with_its_topics_where_one_says(tmp_path: Path) -> None:
    write_pick_7(tmp_path / "pick_7")
    with FaultServer() as server:
        arguments = ("--sensor-topic", "/arm/command", "--camera", "/camera", "--base-url", server.url, "--json")
        done = robotrace("import", str(tmp_path / "pick_7"), *arguments, ROBOTRACE_API_KEY="rt_test")
        assert done.returncode == 0, done.stderr
        (recording,) = json.loads(done.stdout)["recordings"]
        assert [episode["state"] for episode in recording["episodes"]] == ["delivered"]
        (stored,) = server.episodes.values()
        assert sorted(stored.uploads) == ["sensors", "video"]
        assert [each["topic"] for each in stored.create["metadata"]["skipped_topics"]] == ["/joint_states"]
