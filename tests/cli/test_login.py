"""``robotrace login``, ``whoami`` and ``logout`` as a user meets them: processes, sockets, the real deployment."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import child_environment, one_line, robotrace
from polling import eventually
from wire_server import Answer, WireServer

from robotrace.config import credentials_path
from robotrace.credentials import read_profiles, write_profile

KEY = f"rt_0123456789_{'k' * 43}"
START, POLL, REVOKE = (f"/api/cli/auth/{name}" for name in ("start", "poll", "revoke"))
STARTED = {
    "device_code": "canary-of-the-device-code",
    "user_code": "BCDF-GHJK",
    "verification_uri": "http://127.0.0.1:9/cli/auth",
    "interval": 0.5,
}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


class LoggingIn:
    """``robotrace login`` in a process, its output so far in a file."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.output = folder / "login-output"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "robotrace", "login", *arguments],
                env=child_environment({"DISPLAY": "", "WAYLAND_DISPLAY": "", **environment}),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(lambda: "Waiting for the approval" in self.text() or self.process.poll() is not None)

    def text(self) -> str:
        return self.output.read_text()

    @property
    def code(self) -> str:
        found = re.search(r"this code:  (\S+)", self.text())
        assert found is not None, self.text()
        return found[1]

    @property
    def url(self) -> str:
        found = re.search(r"^  (http\S+)$", self.text(), re.MULTILINE)
        assert found is not None, self.text()
        return found[1]

    def end(self) -> int:
        return self.process.wait(60)


@pytest.fixture
def real(tmp_path: Path) -> Iterator[str]:
    """A deployment's URL."""
    pytest.importorskip("fastapi")
    from robotrace.serve.server import Deployment
    from robotrace.serve.settings import Settings

    with Deployment(Settings(tmp_path / "data", port=0)) as deployment:
        yield deployment.base_url


def decide(url: str, code: str, decision: str) -> None:
    import httpx

    answer = httpx.post(f"{url}/cli/auth", data={"code": code, "decision": decision}, headers=SAME_ORIGIN)
    assert answer.status_code == 303


def profiles() -> dict[str, dict[str, str]]:
    return read_profiles(credentials_path())


@pytest.fixture
def approving(server: WireServer) -> WireServer:
    """A server of somebody else's that approves at once and knows nothing beyond the contract."""
    server.on("POST", START, Answer(200, STARTED))
    server.on("POST", POLL, Answer(200, {"status": "approved", "api_key": KEY}))
    return server


# --- the whole way


def test_login_whoami_use_and_logout_with_the_real_deployment(real: str, tmp_path: Path) -> None:
    import httpx

    login = LoggingIn(tmp_path, "--base-url", f"{real}/", "--profile", "my lab")
    assert login.url == f"{real}/cli/auth?code={login.code}"
    assert login.code in httpx.get(login.url).text
    decide(real, login.code, "approve")
    assert login.end() == 0
    profile = profiles()["my lab"]
    assert sorted(profile) == ["api_key", "base_url", "written_at"]
    assert profile["base_url"] == real
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", profile["written_at"])
    key = profile["api_key"]
    assert f"Logged in to {real}." in login.text()
    assert "--profile 'my lab', or ROBOTRACE_PROFILE='my lab'" in login.text()
    assert stat.S_IMODE(credentials_path().stat().st_mode) == 0o600

    shown = robotrace("whoami", "--profile", "my lab")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert all(text in shown.stdout for text in (real, f"{key[:13]}_…", "my lab", "credentials file"))
    listed = robotrace("episodes", "list", "--profile", "my lab", "--json")
    assert listed.returncode == 0, listed.stderr

    out = robotrace("logout", "--revoke", ROBOTRACE_PROFILE="my lab")
    assert (out.returncode, out.stderr) == (0, "")
    assert f"refuses the key {key[:13]}_… from now on" in out.stdout
    assert not credentials_path().exists()
    assert httpx.get(f"{real}/api/episodes/x", headers={"Authorization": f"Bearer {key}"}).status_code == 401
    secret = key.split("_", 2)[2]
    assert not any(secret in text for text in (login.text(), shown.stdout, listed.stdout, out.stdout))


def test_a_denied_login_is_one_clear_line(real: str, tmp_path: Path) -> None:
    login = LoggingIn(tmp_path, "--base-url", real)
    decide(real, login.code, "deny")
    assert login.end() == 1
    assert login.text().splitlines()[-1] == "robotrace: the login was denied in the browser"
    assert not credentials_path().exists()


def test_a_second_login_needs_force_and_the_former_key_is_named(real: str, tmp_path: Path) -> None:
    write_profile(credentials_path(), "default", {"api_key": KEY, "base_url": real, "user_email": "a@b"})
    again = robotrace("login")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == f"Already logged in to {real} as a@b (profile 'default'); --force logs in again.\n"
    login = LoggingIn(tmp_path, "--force")
    decide(real, login.code, "approve")
    assert login.end() == 0
    assert f"stays in force until it is revoked: {real}/portal/api-keys" in login.text()
    assert profiles()["default"]["api_key"] != KEY
    # The new key is nobody's that is known.
    assert "user_email" not in profiles()["default"]


def test_the_former_key_is_revoked_where_it_was_made(approving: WireServer) -> None:
    write_profile(credentials_path(), "default", {"api_key": KEY, "base_url": "http://127.0.0.1:9/"})
    result = robotrace("login", "--force", "--no-browser", "--base-url", approving.url)
    assert "until it is revoked: http://127.0.0.1:9/portal/api-keys\n" in result.stdout
    assert profiles()["default"]["base_url"] == approving.url


# --- against servers of others


def test_a_server_that_knows_the_contract_alone(approving: WireServer) -> None:
    result = robotrace("login", "--base-url", approving.url, "--no-browser")
    assert (result.returncode, result.stderr) == (0, "")
    assert "http://127.0.0.1:9/cli/auth?code=BCDF-GHJK" in result.stdout
    profile = profiles()["default"]
    assert profile.pop("written_at")
    assert profile == {"api_key": KEY, "base_url": approving.url}
    assert not any(secret in result.stdout for secret in (KEY, STARTED["device_code"]))
    shown = json.loads(robotrace("whoami", "--json").stdout)
    assert (shown["client_id"], shown["user_email"]) == (None, None)


def test_what_the_approval_says_of_itself_is_kept(approving: WireServer) -> None:
    more = {"base_url": "http://localhost:9/", "client_id": "cl_1", "user_email": "a@b"}
    approving.on("POST", POLL, Answer(200, {"status": "approved", "api_key": KEY, **more}))
    result = robotrace("login", "--base-url", approving.url, "--no-browser")
    assert "Logged in to http://localhost:9 as a@b." in result.stdout
    shown = json.loads(robotrace("whoami", "--json").stdout)
    assert shown.pop("written_at")
    assert shown == {
        "profile": "default",
        "base_url": "http://localhost:9",
        "base_url_source": "file",
        "api_key_prefix": "rt_0123456789",
        "api_key_source": "file",
        "client_id": "cl_1",
        "user_email": "a@b",
        "credentials": str(credentials_path()),
    }


def test_an_address_that_is_none_is_not_taken_over(approving: WireServer) -> None:
    approving.on("POST", POLL, Answer(200, {"status": "approved", "api_key": KEY, "base_url": "ftp://x"}))
    result = robotrace("login", "--base-url", approving.url, "--no-browser")
    assert "it was not taken over" in result.stdout
    assert profiles()["default"]["base_url"] == approving.url


def test_encryption_is_never_given_up() -> None:
    from robotrace.cli.login import _agreed_url

    kept, remark = _agreed_url("https://h.example", "http://h.example")
    assert kept == "https://h.example"
    assert remark is not None
    assert "without encryption" in remark
    assert _agreed_url("https://h.example", "https://other.example/") == ("https://other.example", None)
    assert _agreed_url("http://h.example", "https://h.example") == ("https://h.example", None)
    assert _agreed_url("http://h.example", "http://h.example/") == ("http://h.example", None)


def test_the_browser_is_opened_unless_told_otherwise(approving: WireServer, tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\nprintf "%s" "$1" > {opened}.part && mv {opened}.part {opened}\n')
    script.chmod(0o755)
    assert robotrace("login", "--base-url", approving.url, "--no-browser", BROWSER=str(script)).returncode == 0
    assert not opened.exists()
    assert robotrace("login", "--base-url", approving.url, "--force", BROWSER=f"{script} %s").returncode == 0
    eventually(opened.exists)
    assert opened.read_text() == "http://127.0.0.1:9/cli/auth?code=BCDF-GHJK"


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, sys.platform == "darwin"),
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "x"}, False),
        ({"BROWSER": "x", "SSH_CONNECTION": "x"}, True),
    ],
)
def test_a_browser_is_opened_only_where_somebody_sees_it(monkeypatch, environment, wanted) -> None:
    from robotrace.cli.login import _has_display

    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _has_display() is wanted


# --- which deployment


def test_the_address_is_found_in_the_order_of_everything_else(approving: WireServer) -> None:
    with WireServer() as other:
        write_profile(credentials_path(), "default", {"base_url": approving.url})
        assert robotrace("login", "--no-browser").returncode == 0
        assert len(approving.received("POST", START)) == 1
        assert robotrace("login", "--force", "--no-browser", ROBOTRACE_BASE_URL=other.url).returncode == 1
        assert len(other.received("POST", START)) == 1
        result = robotrace(
            "login", "--force", "--no-browser", "--base-url", approving.url, ROBOTRACE_BASE_URL=other.url
        )
        assert result.returncode == 0
        assert len(approving.received("POST", START)) == 2
        assert "ROBOTRACE_BASE_URL is set in the environment and wins over this login." in result.stdout


def test_a_login_to_another_deployment_is_not_taken_for_done() -> None:
    write_profile(credentials_path(), "default", {"api_key": KEY, "base_url": "http://h.example"})
    line = one_line(robotrace("login", "--base-url", "http://127.0.0.1:9"))
    assert "is logged in to http://h.example" in line
    assert "--profile NAME" in line


def test_nobody_there_is_one_clear_line() -> None:
    line = one_line(robotrace("login", "--base-url", "http://127.0.0.1:9"))
    assert "127.0.0.1:9 could not be reached" in line
    assert "robotrace serve" not in line  # of no help for an address that was given


def test_without_any_address_a_deployment_here_is_tried_and_the_ways_out_are_named() -> None:
    # Whatever listens on that port of this machine is none of the test's business: a proxy that is not there.
    line = one_line(robotrace("login", HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9"))
    assert "127.0.0.1:8321 could not be reached" in line
    assert "robotrace serve" in line
    assert "--base-url" in line


@pytest.mark.parametrize("arguments", [("--base-url", "127.0.0.1:9"), ("--profile", ""), ("--profile", " ")])
def test_arguments_that_cannot_be_right_are_one_clear_line(arguments: tuple[str, ...]) -> None:
    one_line(robotrace("login", *arguments))


def test_a_credentials_file_that_others_can_read_is_refused_before_anybody_is_asked(approving: WireServer) -> None:
    write_profile(credentials_path(), "default", {"api_key": KEY})
    credentials_path().chmod(0o644)
    for command in (("login", "--force", "--base-url", approving.url), ("whoami",), ("logout",)):
        line = one_line(robotrace(*command))
        assert f"chmod 600 {credentials_path()}" in line
        assert KEY not in line
    assert approving.requests == []


def test_nobody_is_asked_where_the_key_could_not_be_stored(approving: WireServer, tmp_path: Path) -> None:
    (tmp_path / "home").symlink_to(tmp_path / "unmounted")
    result = robotrace("login", "--base-url", approving.url, ROBOTRACE_HOME=str(tmp_path / "home"))
    assert "cannot be written" in one_line(result)
    assert approving.requests == []


def test_ctrl_c_in_the_wait_is_one_clear_line(server: WireServer, tmp_path: Path) -> None:
    server.on("POST", START, Answer(200, STARTED))
    server.on("POST", POLL, Answer(200, {"status": "pending"}))
    login = LoggingIn(tmp_path, "--base-url", server.url)
    eventually(lambda: server.received("POST", POLL))
    login.process.send_signal(signal.SIGINT)
    assert login.end() == 1
    assert login.text().splitlines()[-1] == "robotrace: the login was given up; nothing was stored"
    assert "Traceback" not in login.text()
    assert not credentials_path().exists()


def test_a_key_in_the_environment_that_wins_is_said(approving: WireServer) -> None:
    result = robotrace("login", "--base-url", approving.url, "--no-browser", ROBOTRACE_API_KEY="other")
    assert "ROBOTRACE_API_KEY is set in the environment and wins over this login." in result.stdout


# --- whoami


def test_whoami_without_a_login_is_one_clear_line() -> None:
    assert "robotrace login" in one_line(robotrace("whoami"))
    assert "no base URL" in one_line(robotrace("whoami", ROBOTRACE_API_KEY=KEY))


def test_whoami_names_sources_and_says_nothing_of_a_key_it_does_not_know() -> None:
    write_profile(credentials_path(), "default", {"api_key": "file", "base_url": "http://file", "user_email": "a@b"})
    foreign = "sk-canary-of-a-foreign-key"
    result = robotrace("whoami", "--json", ROBOTRACE_API_KEY=foreign)
    shown = json.loads(result.stdout)
    assert (shown["base_url"], shown["base_url_source"]) == ("http://file", "file")
    assert (shown["api_key_prefix"], shown["api_key_source"]) == (None, "environment")
    assert shown["user_email"] is None  # whose the other key is nobody knows
    both = {"ROBOTRACE_API_KEY": foreign, "ROBOTRACE_BASE_URL": "http://env"}
    for arguments in (("whoami", "--json"), ("whoami",)):
        result = robotrace(*arguments, **both)
        assert result.returncode == 0
        assert "canary" not in result.stdout
    assert "ROBOTRACE_API_KEY" in result.stdout
    assert json.loads(robotrace("whoami", "--json", **both).stdout)["profile"] is None


def test_a_profile_that_is_not_there_is_one_clear_line() -> None:
    write_profile(credentials_path(), "my lab", {"api_key": KEY, "base_url": "http://h"})
    for command in ("whoami", "logout"):
        line = one_line(robotrace(command, "--profile", "my lb"))
        assert "'my lb'" in line
        assert "'my lab'" in line


# --- logout


def test_logout_forgets_one_profile(server: WireServer) -> None:
    for name in ("default", "my lab"):
        write_profile(credentials_path(), name, {"api_key": KEY, "base_url": server.url})
    result = robotrace("logout", ROBOTRACE_API_KEY="other")
    assert result.returncode == 0
    assert "ROBOTRACE_API_KEY is set in the environment and stays in force." in result.stdout
    assert list(profiles()) == ["my lab"]
    assert server.requests == []


def test_logout_without_a_login_is_done_already() -> None:
    result = robotrace("logout", "--revoke")
    assert (result.returncode, result.stdout) == (0, "Not logged in: there is nothing to forget.\n")
    assert not credentials_path().parent.exists()


def test_revoking_asks_the_deployment_that_made_the_key(server: WireServer) -> None:
    """Not the one in the environment, which is none of this key's business."""
    server.on("POST", REVOKE, Answer(200, {"status": "revoked", "key_id": "1", "key_prefix": KEY[:13]}))
    write_profile(credentials_path(), "default", {"api_key": KEY, "base_url": server.url})
    result = robotrace("logout", "--revoke", ROBOTRACE_BASE_URL="http://127.0.0.1:9", ROBOTRACE_API_KEY="other")
    assert result.returncode == 0
    (request,) = server.requests
    assert request.header("authorization") == f"Bearer {KEY}"
    assert not credentials_path().exists()


def test_a_key_the_deployment_does_not_know_is_done(server: WireServer) -> None:
    server.on("POST", REVOKE, Answer(401, {"error": "unknown"}))
    write_profile(credentials_path(), "default", {"api_key": KEY, "base_url": server.url})
    result = robotrace("logout", "--revoke")
    assert (result.returncode, result.stderr) == (0, "")
    assert "did not know the key any more" in result.stdout
    assert not credentials_path().exists()


@pytest.mark.parametrize("answer", [Answer(500, {"error": "down"}), Answer(404), Answer(cut=True), None])
def test_a_key_that_could_not_be_revoked_is_kept(server: WireServer, answer: Answer | None) -> None:
    if answer is not None:
        server.on("POST", REVOKE, answer)
    url = server.url if answer is not None else "http://127.0.0.1:9"
    write_profile(credentials_path(), "default", {"api_key": KEY, "base_url": url})
    line = one_line(robotrace("logout", "--revoke"))
    assert "was not revoked" in line
    assert "without --revoke it is forgotten here only" in line
    assert KEY not in line
    assert profiles()["default"]["api_key"] == KEY


# --- help


@pytest.mark.parametrize("command", ["login", "whoami", "logout", "status"])
def test_the_help_has_an_example(command: str) -> None:
    result = robotrace(command, "--help")
    assert result.returncode == 0
    assert "Example:" in result.stdout
    assert f"robotrace {command}" in result.stdout
    assert robotrace(command, "--no-such-option").returncode == 2


def test_no_secret_is_logged_on_the_way(approving: WireServer) -> None:
    """Every logger of the process at its most talkative."""
    script = (
        "import logging, sys\n"
        "logging.basicConfig(level='DEBUG', stream=sys.stderr)\n"
        "from robotrace.cli import main\n"
        "main()\n"
    )
    approving.on("POST", REVOKE, Answer(500))
    for arguments in (["login", "--no-browser", "--base-url", approving.url], ["logout", "--revoke"], ["whoami"]):
        result = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=child_environment({}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        written = result.stdout + result.stderr
        assert os.path.basename(START) in written or arguments[0] != "login"  # noqa: PTH119
        assert KEY not in written
        assert STARTED["device_code"] not in written
