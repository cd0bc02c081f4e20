"""What a person at a terminal sees: bars, and tables as wide as the window."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading

import pytest
from command_line import child_environment
from wire_server import API_KEY, EPISODE_ID, Answer


class Terminal:
    """A pseudo-terminal of a width; what was written to it is read all the while, so that nothing blocks."""

    def __init__(self, columns):
        self._master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._parts = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        while True:
            try:
                part = os.read(self._master, 65536)
            except OSError:  # Linux's way to say that the other end is closed
                part = b""
            if not part:
                return
            self._parts.append(part)

    def text(self):
        """All of it, once the process has ended."""
        os.close(self.slave)
        self._reader.join(30)
        os.close(self._master)
        return b"".join(self._parts).decode().replace("\r\n", "\n")


def at_terminal(server, *arguments, stream, columns=80):
    """The command's result with one of its streams on a terminal, and what that shows."""
    terminal = Terminal(columns)
    environment = {"ROBOTRACE_BASE_URL": server.url, "ROBOTRACE_API_KEY": API_KEY, "TERM": "xterm"}
    process = child_environment(environment)
    process.pop("COLUMNS", None)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: terminal.slave}
    command = [sys.executable, "-m", "robotrace", *arguments]
    result = subprocess.run(
        command, env=process, stdin=subprocess.DEVNULL, text=True, timeout=60, check=False, **streams
    )
    return result, terminal.text()


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "rollout.mp4"
    path.write_bytes(bytes(2_000_000))
    return path


def test_an_upload_has_a_bar_that_begins_again_with_another_try(deployment, big, monkeypatch):
    deployment.on("PUT", "/store/video", Answer(429, {}, {"Retry-After": "0"}), Answer(200, b""))
    result, shown = at_terminal(deployment, "log", "--video", str(big), stream="stderr")
    assert result.returncode == 0, shown
    assert "video (2.0 MB)" in shown
    assert shown.count("100%") == 2
    assert result.stdout == f"{deployment.url}/portal/episodes/{EPISODE_ID}\n"


def test_an_upload_that_fails_ends_its_bar_before_the_error_line(deployment, big):
    deployment.on("PUT", "/store/video", Answer(500, {"error": "the disk is full"}))
    result, shown = at_terminal(deployment, "log", "--video", str(big), stream="stderr")
    assert result.returncode == 1
    assert shown.splitlines()[-1].endswith("robotrace: the disk is full")
    assert "Traceback" not in shown


def test_a_download_has_a_bar_for_each_file(server, tmp_path):
    for kind in ("video", "sensors"):
        server.on("GET", f"/api/episodes/{EPISODE_ID}/artifact/{kind}", Answer(200, bytes(1_500_000)))
    arguments = ("episodes", "download", EPISODE_ID, "--output", str(tmp_path / "x"))
    result, shown = at_terminal(server, *arguments, stream="stderr")
    assert result.returncode == 0, shown
    assert "video (1.5 MB)" in shown
    assert "sensors (1.5 MB)" in shown
    assert shown.count("100%") >= 2


@pytest.mark.parametrize(("columns", "left_out"), [(200, False), (80, True)])
def test_a_list_is_as_wide_as_the_window(server, columns, left_out):
    episode_id = "6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11"
    row = {
        "episode_id": episode_id,
        "created_at": "2026-01-02T03:04:05Z",
        "status": "ready",
        "policy_version": "a-long-policy-version",
        "seed": 7,
        "success": True,
        "reward_total": 12.5,
        "steps": 1000,
        "duration_s": 20.5,
    }
    server.on("GET", "/api/episodes", Answer(200, {"episodes": [row], "next": None}))
    result, shown = at_terminal(server, "episodes", "list", stream="stdout", columns=columns)
    assert result.returncode == 0, result.stderr
    lines = shown.splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[1].startswith(episode_id)
    assert ("no room for" in result.stderr) == left_out
