from __future__ import annotations

import re
import socket
import subprocess
import sys

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("pygame")

from importlib import metadata
from pathlib import Path

from command_line import child_environment, one_line, robotrace

if not metadata.entry_points(group="robotrace.demos"):
    pytest.skip("the package is not installed, so it has no entry points", allow_module_level=True)


def test_the_demo_ends_with_its_episodes_in_the_portal_ready_and_failed_ones(tmp_path: Path) -> None:
    arguments = ("demo", "--episodes", "4", "--no-browser", "--exit-when-done", "--data-dir", str(tmp_path / "demo"))
    result = robotrace(*arguments, "--port", "0")
    assert result.returncode == 0, result.stderr
    assert "4 episodes in the portal: 2 failed, 2 ready" in result.stdout
    again = robotrace(*arguments)
    assert "4 episodes in the portal: 2 failed, 2 ready" in again.stdout
    assert not list((tmp_path / "demo" / "spool").glob("v1/*/recording/*"))


def test_episodes_that_do_not_arrive_are_a_failure_and_not_a_shorter_list(tmp_path: Path) -> None:
    # A recorder that is broken through and through: it warns and lets the loop run on.
    code = (
        "import sys; from robotrace import session; session._Session = None; "
        "from robotrace.cli import main; sys.argv = ['robotrace', *sys.argv[1:]]; main()"
    )
    arguments = ("--episodes", "2", "--no-browser", "--exit-when-done", "--port", "0")
    result = subprocess.run(
        [sys.executable, "-c", code, "demo", *arguments, "--data-dir", str(tmp_path / "demo")],
        env=child_environment({"ROBOTRACE_RAISE_INTERNAL_ERRORS": "0"}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 1
    assert "0 episodes in the portal: none" in result.stdout
    assert "2 were to be recorded and 0 have arrived" in result.stderr.splitlines()[-1]


def test_the_demo_finds_another_port_unless_one_was_asked_for(tmp_path: Path) -> None:
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", 8321))
        except OSError:
            pytest.skip("port 8321 is in use on this machine already")
        taken.listen()
        short = ("demo", "--episodes", "2", "--no-browser", "--exit-when-done", "--data-dir", str(tmp_path / "demo"))
        result = robotrace(*short)
        assert result.returncode == 0, result.stderr
        assert re.search(r"127\.0\.0\.1:(?!8321)\d+", result.stdout)
        assert "8321" in one_line(robotrace(*short, "--port", "8321"))
