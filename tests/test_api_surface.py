"""Nothing that users rely on goes away unnoticed, and the check of that notices."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from api_surface import FILE, SECTIONS, current, differences, narrowings, stored

SCRIPT = Path(__file__).with_name("api_surface.py")


def now(section):
    surface = current(section)
    if surface is None:
        pytest.skip(f"needs {' and '.join(SECTIONS[section])}")
    return surface


@pytest.mark.parametrize("section", SECTIONS)
def test_nothing_is_taken_away(section):
    assert narrowings(stored()[section], now(section), section) == []


@pytest.mark.parametrize("section", SECTIONS)
def test_the_file_is_up_to_date(section):
    differing = differences(stored()[section], now(section), section)
    assert differing == [], "additions are welcome: python tests/api_surface.py --write"


def test_the_file_has_every_public_module_and_no_other():
    assert list(stored()) == list(SECTIONS)
    assert all(stored().values())


# --- the comparison


def parameter(name, default=None, *, kind="KEYWORD_ONLY", annotation="int"):
    described = {"name": name, "kind": kind, "annotation": annotation}
    return described if default is None else {**described, "default": default}


def positional(name, default=None):
    return parameter(name, default, kind="POSITIONAL_OR_KEYWORD")


def function(*parameters, returns="None"):
    return {"kind": "function", "parameters": list(parameters), "returns": returns}


def a_class(*parameters, bases=("builtins:Exception",), **members):
    return {"kind": "class", "bases": list(bases), "parameters": list(parameters), "members": members}


def literal(*values):
    return {"kind": "literal", "values": [repr(value) for value in values]}


def attribute(annotation):
    return {"kind": "attribute", "annotation": annotation}


NARROWINGS = {
    "a name is gone": (function(), None, "m.x is gone"),
    "a function becomes a class": (function(), a_class(), "m.x was of kind function, is class"),
    "a parameter is gone": (function(parameter("a")), function(), "parameter a is gone"),
    "a parameter is renamed": (function(parameter("a", "1")), function(parameter("b", "1")), "parameter a is gone"),
    "a parameter is required": (function(parameter("a", "1")), function(parameter("a")), "default 1, is required"),
    "a default changes": (function(parameter("a", "1")), function(parameter("a", "2")), "default 1, is 2"),
    "a new parameter is required": (function(), function(parameter("a")), "parameter a is new and required"),
    "parameters change places": (
        function(positional("a"), positional("b")),
        function(positional("b"), positional("a")),
        "the order of parameters was a, b, is b, a",
    ),
    "a new one goes in between": (
        function(positional("a"), positional("b")),
        function(positional("a"), positional("c", "1"), positional("b")),
        "the order of parameters was a, b, is a, c, b",
    ),
    "by keyword only": (function(positional("a")), function(parameter("a")), "no longer be given by position"),
    "by position only": (
        function(positional("a")),
        function(parameter("a", kind="POSITIONAL_ONLY")),
        "no longer be given by name",
    ),
    "further keywords are refused": (
        function(parameter("options", kind="VAR_KEYWORD")),
        function(parameter("options", "1")),
        "parameter options was VAR_KEYWORD",
    ),
    "an annotation changes": (
        function(parameter("a", annotation="int | None")),
        function(parameter("a", annotation="int")),
        "parameter a was int | None, is int",
    ),
    "the return changes": (function(returns="int"), function(returns="int | None"), "returns was int, is int | None"),
    "a base class is gone": (
        a_class(bases=("robotrace:APIError", "builtins:Exception")),
        a_class(),
        "no longer derives from robotrace:APIError",
    ),
    "a method is gone": (a_class(run=function()), a_class(), "m.x.run is gone"),
    "a method narrows": (
        a_class(run=function(parameter("a", "1"))),
        a_class(run=function(parameter("a"))),
        "m.x.run: parameter a had the default 1",
    ),
    "a field is gone": (a_class(id=attribute("str")), a_class(), "m.x.id is gone"),
    "a field changes its type": (
        a_class(id=attribute("str")),
        a_class(id=attribute("int")),
        "m.x.id: annotation was str, is int",
    ),
    "an attribute becomes a method": (
        a_class(id=attribute("str")),
        a_class(id=function()),
        "m.x.id was of kind attribute, is function",
    ),
    "a constructor narrows": (a_class(parameter("a", "1")), a_class(parameter("a")), "m.x: parameter a had"),
    "a constructor is gone": (
        a_class(parameter("a")),
        {"kind": "class", "bases": ["builtins:Exception"], "members": {}},
        "m.x: parameter a is gone",
    ),
    "a value of a Literal is gone": (literal("a", "b"), literal("a"), "no longer takes 'b'"),
    "a constant changes": (
        {"kind": "constant", "value": "'A'"},
        {"kind": "constant", "value": "'B'"},
        "value was 'A', is 'B'",
    ),
    "an alias changes": ({"kind": "alias", "is": "A | B"}, {"kind": "alias", "is": "A"}, "is was A | B, is A"),
}


@pytest.mark.parametrize("case", NARROWINGS)
def test_a_narrowing_is_noticed(case):
    before, after, text = NARROWINGS[case]
    found = narrowings({"x": before}, {} if after is None else {"x": after}, "m")
    assert any(text in line for line in found), found


WIDENINGS = {
    "a new name": (None, function()),
    "a new optional parameter": (function(parameter("a")), function(parameter("a"), parameter("b", "1"))),
    "a new optional one at the end": (function(positional("a")), function(positional("a"), positional("b", "1"))),
    "keyword-only ones change places": (
        function(parameter("a"), parameter("b")),
        function(parameter("b"), parameter("a")),
    ),
    "a parameter becomes optional": (function(parameter("a")), function(parameter("a", "1"))),
    "by position too": (function(parameter("a")), function(positional("a"))),
    "further keywords are taken": (function(), function(parameter("more", kind="VAR_KEYWORD"))),
    "a new base class": (a_class(), a_class(bases=("builtins:Exception", "builtins:ValueError"))),
    "a new method": (a_class(), a_class(run=function())),
    "a new value of a Literal": (literal("a"), literal("a", "b")),
}


@pytest.mark.parametrize("case", WIDENINGS)
def test_an_addition_takes_nothing_away_and_has_to_be_written_down(case):
    before, after = WIDENINGS[case]
    old, new = {} if before is None else {"x": before}, {"x": after}
    assert narrowings(old, new, "m") == []
    assert differences(old, new, "m") == ["m.x"]


# --- the command


@pytest.fixture
def script(tmp_path):
    """Runs a copy of the script beside a file of its own."""
    shutil.copy(SCRIPT, tmp_path)
    file = tmp_path / FILE.name
    shutil.copy(FILE, file)

    def run(*arguments):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, str(tmp_path / SCRIPT.name), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return run, file


def changed(file, change):
    surface = json.loads(file.read_text())
    change(surface["robotrace"])
    file.write_text(json.dumps(surface))


def test_the_script_writes_additions(script):
    run, file = script
    changed(file, lambda names: names.pop("Client"))
    done = run()
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "differs: robotrace.Client")
    assert run("--write").returncode == 0
    assert file.read_text() == FILE.read_text()
    assert run().returncode == 0


def test_the_script_refuses_to_forget(script):
    run, file = script
    changed(file, lambda names: names.update(gone=function()))
    before = file.read_text()
    done = run("--write")
    assert done.returncode == 1
    assert "taken away: robotrace.gone is gone" in done.stdout
    assert file.read_text() == before
    assert run("--write", "--allow-narrowing").returncode == 0
    assert file.read_text() == FILE.read_text()
