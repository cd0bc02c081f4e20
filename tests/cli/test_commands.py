"""The command line as a user meets it: real processes, real ports."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

import httpx
import numpy as np
from command_line import child_environment, one_line, robotrace
from polling import eventually
from rerun_episodes import cartpole_arrays, reproduce

from robotrace import __version__
from robotrace.client import Client
from robotrace.deliver.spool import open_spool
from robotrace.testing.episodes import seal_one


class Serving:
    """``robotrace serve`` in a process, its output so far in a file."""

    def __init__(self, output: Path, *arguments: str, **environment: str) -> None:
        self.output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "robotrace", "serve", "--port", "0", *arguments],
                env=child_environment(environment),
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        eventually(lambda: "Stop: Ctrl-C" in self.text() or self.process.poll() is not None)

    def text(self) -> str:
        return self.output.read_text()

    @property
    def url(self) -> str:
        found = re.search(r"http://127\.0\.0\.1:\d+", self.text())
        assert found is not None, self.text()
        return found[0]

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


@pytest.fixture
def serving(output: Path) -> Iterator[Serving]:
    serving = Serving(output)
    yield serving
    if serving.process.poll() is None:
        serving.stop()


def test_version_and_help() -> None:
    assert robotrace("version").stdout.strip() == __version__
    for arguments in ((), ("serve",), ("demo",)):
        result = robotrace(*arguments, "--help")
        assert result.returncode == 0
        assert "Usage:" in result.stdout
    assert "robotrace serve --port 9000" in robotrace("serve", "-h").stdout


@pytest.mark.parametrize("arguments", [("no-such-command",), ("serve", "--prot", "1"), ("serve", "--port", "x")])
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    result = robotrace(*arguments)
    assert result.returncode == 2
    assert "Error" in result.stderr


def test_serve_prints_a_key_once_that_works(serving: Serving) -> None:
    key = re.search(r"ROBOTRACE_API_KEY=(rt_\S+)", serving.text())
    assert key is not None
    with Client(base_url=serving.url, api_key=key[1]) as client:
        client.start_episode(artifacts=()).finalize()
    assert httpx.get(f"{serving.url}/portal/episodes").status_code == 200
    assert serving.stop() == 0
    again = Serving(serving.output)
    assert "ROBOTRACE_API_KEY" not in again.text()
    again.stop()
    third = Serving(serving.output, "--new-key")
    assert "ROBOTRACE_API_KEY" in third.text()
    assert third.stop(signal.SIGTERM) == 0


def test_serve_takes_what_waits_in_the_spool_and_what_comes_later(output: Path) -> None:
    spool = open_spool()
    seal_one(spool)
    serving = Serving(output)
    eventually(lambda: spool.counts().sealed == 0)
    seal_one(spool)
    eventually(lambda: len(httpx.get(f"{serving.url}/portal/episodes.json").json()["episodes"]) == 2)
    serving.stop()


def test_serve_reaches_itself_past_a_proxy_that_cannot(output: Path) -> None:
    spool = open_spool()
    seal_one(spool)
    dead = "http://127.0.0.1:9"
    serving = Serving(output, HTTP_PROXY=dead, http_proxy=dead, ALL_PROXY=dead)
    eventually(lambda: spool.counts().sealed == 0)
    assert serving.stop() == 0


def test_serve_leaves_episodes_alone_that_go_elsewhere_by_configuration(output: Path) -> None:
    spool = open_spool()
    seal_one(spool)
    elsewhere = {"ROBOTRACE_BASE_URL": "http://127.0.0.1:9", "ROBOTRACE_API_KEY": "rt_x"}
    serving = Serving(output, **elsewhere)
    assert "go to http://127.0.0.1:9, as configured" in serving.text()
    assert serving.stop() == 0
    assert spool.counts().sealed == 1
    serving = Serving(output, "--drain", **elsewhere)
    eventually(lambda: spool.counts().sealed == 0)
    serving.stop()


def test_serve_renders_failed_episodes_of_the_folders_it_is_told_of(output: Path, tmp_path: Path) -> None:
    pytest.importorskip("gymnasium")
    pytest.importorskip("pygame")
    own = tmp_path / "own"
    own.mkdir()
    (own / "operators_envs.py").write_text(
        "from gymnasium.envs.classic_control.cartpole import CartPoleEnv\n\n\nclass Own(CartPoleEnv):\n    pass\n"
    )
    for kind, arrays in cartpole_arrays().items():
        np.savez(tmp_path / f"{kind}.npz", **arrays)
    serving = Serving(output, "--render-failed", "--import-from", str(own))
    key = re.search(r"ROBOTRACE_API_KEY=(rt_\S+)", serving.text())
    assert key is not None
    with Client(base_url=serving.url, api_key=key[1]) as client:
        episode = client.start_episode(
            source="sim",
            fps=50.0,
            metadata={"reproduce": reproduce("operators_envs:Own")},
            artifacts=("sensors", "actions"),
        )
        for kind in ("sensors", "actions"):
            episode.upload(kind, tmp_path / f"{kind}.npz")
        episode.finalize(status="failed")
        eventually(lambda: client.get_episode(episode.id)["metadata"].get("video"), 60)
        assert client.get_episode(episode.id)["metadata"]["video"]["frames"] == 21
    assert serving.stop() == 0


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        line = one_line(robotrace("serve", "--port", port))
        assert port in line
        assert "--port" in line


def test_a_second_deployment_on_the_same_folder_is_one_clear_line(serving: Serving) -> None:
    assert "deployment" in one_line(robotrace("serve", "--port", "0"))


def test_folders_that_cannot_be_written_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    blocked = str(tmp_path / "file" / "x")
    assert blocked in one_line(robotrace("serve", "--port", "0", "--data-dir", blocked))
    assert "ROBOTRACE_SPOOL_DIR" in one_line(robotrace("serve", "--port", "0", ROBOTRACE_SPOOL_DIR=blocked))


def test_a_folder_of_environments_that_holds_uploads_is_one_clear_line(tmp_path: Path) -> None:
    arguments = ("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), "--import-from", str(tmp_path))
    assert "--import-from" in one_line(robotrace(*arguments))
    assert robotrace(*arguments[:-1], str(tmp_path / "nothing")).returncode == 2


def test_a_host_that_is_not_of_this_machine_is_one_clear_line() -> None:
    assert "nowhere.invalid" in one_line(robotrace("serve", "--port", "0", "--host", "nowhere.invalid"))


@pytest.mark.parametrize(
    "arguments",
    [("--rate-limit", "0"), ("--rate-limit", "many"), ("--audit-days", "0")],
    ids=" ".join,
)
def test_a_limit_that_is_none_is_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert robotrace("serve", "--port", "0", *arguments).returncode == 2


def test_a_public_url_is_printed_asks_for_a_key_and_comes_from_the_environment(output: Path) -> None:
    assert "public URL" in one_line(robotrace("serve", "--port", "0", "--public-url", "team.example"))
    serving = Serving(output, "--rate-limit", "off", ROBOTRACE_SERVE_PUBLIC_URL="https://team.example/")
    try:
        text = serving.text()
        assert "RoboTrace is running:  https://team.example/portal/episodes" in text
        assert "ROBOTRACE_BASE_URL=https://team.example\n" in text
        assert "sign in" in text
        # What waits in the spool arrives all the same, without a way over the public name.
        seal_one(open_spool())
        eventually(lambda: open_spool().counts().sealed == 0)
    finally:
        assert serving.stop() == 0
