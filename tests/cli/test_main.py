"""The command line as a whole: its help, its exit codes, how it ends."""

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest
from command_line import child_environment, one_line, robotrace
from polling import eventually
from readme import ROOT
from wire_server import API_KEY, Answer

from robotrace import __version__
from robotrace.cli.main import cli

DOCUMENT = ROOT / "docs" / "cli.md"


def commands(group=cli, path=()):
    """Every command that does something, with its path."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands())


def long_options(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_without_a_command_there_is_help_and_that_is_no_mistake(arguments):
    result = robotrace(*arguments, COLUMNS="80")
    assert result.returncode == 0
    assert result.stderr == ""
    for name in cli.commands:
        assert re.search(rf"^  {name} ", result.stdout, re.MULTILINE), name
    # What a command is for can be read without asking it.
    assert "..." not in result.stdout.partition("Options:")[2]


@pytest.mark.parametrize("group", [name for name, command in cli.commands.items() if isinstance(command, click.Group)])
def test_a_group_without_a_command_shows_its_help(group):
    result = robotrace(group)
    assert (result.returncode, result.stderr) == (0, "")
    assert "Commands:" in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_that_parses(name):
    command = COMMANDS[name]
    if name == "version":
        return
    text = command.help or ""
    assert "Example:" in text
    lines = [line.strip() for line in text.partition("Example:")[2].splitlines() if line.strip()]
    assert all(line.startswith(f"robotrace {name}") for line in lines)
    for line in lines:
        assert long_options(line.partition("|")[0]) <= {option for item in command.params for option in item.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_talks_to_a_deployment_can_be_told_which(name):
    if name in ("version", "serve", "demo", "retry", "clean", "run"):
        return
    if name.startswith(("keys ", "projects ")):  # which work on its database
        assert {"--data-dir", "--database"} <= {option for item in COMMANDS[name].params for option in item.opts}
        return
    options = {option for item in COMMANDS[name].params for option in item.opts}
    assert "--profile" in options
    assert "--base-url" in options or name in ("whoami", "logout")


# --- docs


def sections():
    """Text of each ``## `robotrace …` `` or ``### `robotrace …` `` section, by command."""
    parts = re.split(r"^#+ (.*)$", DOCUMENT.read_text(), flags=re.MULTILINE)
    found = {}
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        named = re.fullmatch(r"`robotrace ([a-z -]+)`", title)
        if named:
            found[named[1]] = text
    return found


def test_the_documented_commands_are_the_commands():
    assert set(sections()) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_documented_options_are_the_options(name):
    options = {
        option for item in COMMANDS[name].params for option in (*item.opts, *item.secondary_opts) if option[:2] == "--"
    }
    rows = [line.split("|")[1] for line in sections()[name].splitlines() if line.startswith("| `")]
    assert long_options(" ".join(rows)) == options


# --- start


def test_a_start_loads_nothing_heavy():
    code = "import sys, robotrace.cli; print([m for m in ('httpx', 'numpy', 'av', 'fastapi') if m in sys.modules])"
    environment = child_environment({})
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.parametrize(
    ("words", "completed"), [("robotrace ep", "episodes"), ("robotrace episodes download --k", "--kind")]
)
def test_a_shell_completes_commands_and_options(words, completed):
    variables = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    result = robotrace(_ROBOTRACE_COMPLETE="bash_complete", **variables)
    assert f"plain,{completed}" in result.stdout


# --- ends


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("episodes", "nothing"),
        ("episodes", "list", "--lmit", "1"),
        ("episodes", "list", "--status", "fialed"),
        ("episodes", "show"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments):
    result = robotrace(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Error" in result.stderr


def test_version():
    assert robotrace("version").stdout == f"{__version__}\n"
    assert __version__ in robotrace("--version").stdout


def test_a_reader_that_has_seen_enough_causes_no_traceback(server):
    rows = [{"episode_id": f"ep_{number}"} for number in range(200)]
    server.on("GET", "/api/episodes", Answer(200, {"episodes": rows, "next": "1"}))
    with subprocess.Popen(
        [sys.executable, "-m", "robotrace", "episodes", "list", "--limit", "20000"],
        env=child_environment({"ROBOTRACE_BASE_URL": server.url, "ROBOTRACE_API_KEY": API_KEY}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline().startswith("ID")
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) in (0, 1)


def test_ctrl_c_is_one_clear_line(server):
    hold = threading.Event()
    server.on("GET", "/api/episodes", Answer(200, {}, hold=hold))
    with subprocess.Popen(
        [sys.executable, "-m", "robotrace", "episodes", "list"],
        env=child_environment({"ROBOTRACE_BASE_URL": server.url, "ROBOTRACE_API_KEY": API_KEY}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        eventually(lambda: server.requests)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 1
        assert process.stdout.read() == ""
        # The empty line ends the one on which the terminal has echoed ^C.
        assert process.stderr.read() == "\nrobotrace: interrupted\n"
    hold.set()


def test_a_full_disk_is_one_clear_line(server):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    server.on("GET", "/api/episodes", Answer(200, {"episodes": [{"episode_id": "ep_1"}], "next": None}))
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "robotrace", "episodes", "list"],
            env=child_environment({"ROBOTRACE_BASE_URL": server.url, "ROBOTRACE_API_KEY": API_KEY}),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode == 1
    assert "No space left on device" in result.stderr.splitlines()[0]
    assert "Traceback" not in result.stderr


def test_a_broken_setting_is_one_clear_line():
    assert "http://" in one_line(robotrace("episodes", "list", ROBOTRACE_BASE_URL="nonsense", ROBOTRACE_API_KEY="rt_x"))


def test_what_a_server_says_is_one_line_that_no_terminal_obeys(server, at):
    server.on("GET", "/api/episodes/ep_1", Answer(500, {"error": "no\nroom \x1b[2J\x07"}))
    assert one_line(at("episodes", "show", "ep_1")) == "robotrace: no room ?[2J?"
