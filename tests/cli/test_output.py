"""Tables that fit, figures that say no more than is known, and one JSON document on stdout."""

from __future__ import annotations

import subprocess
import sys

import pytest
from command_line import child_environment

from robotrace.cli.output import Column, clean, local_time, number, size, table, yes_no

COLUMNS = (Column("ID"), Column("POLICY", least=6), Column("STEPS", right=True, rank=2), Column("SEED", rank=1))
ROWS = [["id-1", "a-long-policy-version", "100", "7"], ["id-2", "short", "9", "-"]]


def test_a_table_is_whole_where_it_may_be_as_wide_as_it_likes() -> None:
    lines, left_out = table(COLUMNS, ROWS, None)
    assert lines == [
        "ID    POLICY                 STEPS  SEED",
        "id-1  a-long-policy-version    100  7",
        "id-2  short                      9  -",
    ]
    assert left_out == []


@pytest.mark.parametrize("width", range(25, 50))
def test_a_table_is_no_wider_than_the_terminal_and_cuts_before_it_leaves_out(width: int) -> None:
    lines, left_out = table(COLUMNS, ROWS, width)
    assert max(map(len, lines)) <= width
    assert left_out == []
    assert all("id-" in line for line in lines[1:])
    assert ("…" in lines[1]) == (width < 40)


@pytest.mark.parametrize(
    ("width", "absent"), [(24, ["STEPS"]), (18, ["STEPS"]), (17, ["STEPS", "SEED"]), (5, ["STEPS", "SEED"])]
)
def test_columns_go_by_rank_and_the_id_is_never_cut(width: int, absent: list[str]) -> None:
    lines, left_out = table(COLUMNS, ROWS, width)
    assert left_out == absent
    assert all(line.startswith(("ID", "id-1", "id-2")) for line in lines)


def test_letters_that_take_two_places_are_counted_as_two() -> None:
    lines, _ = table((Column("NAME", least=4), Column("N")), [["机器人机器人", "1"], ["arm", "2"]], 11)
    assert lines == ["NAME      N", "机器人…   1", "arm       2"]


def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    assert clean("a\x1b[31mb\u202ec\nd\te") == "a?[31mb?c d e"
    lines, _ = table((Column("A"),), [["x\x1b]0;title\x07"]], None)
    assert lines == ["A", "x?]0;title?"]


def test_what_is_not_known_is_a_dash_and_never_a_zero() -> None:
    assert [yes_no(value) for value in (True, False, None, 1, "yes")] == ["yes", "no", "-", "-", "-"]
    assert [number(value) for value in (0, 2**62, 1.23456789, None, True, "1")] == [
        "0",
        str(2**62),
        "1.2346",
        "-",
        "-",
        "-",
    ]
    assert number(9.98, " s") == "9.98 s"
    assert [size(value) for value in (0, 999, 1000, 1_234_567, 999_960, 3 * 1024**3, None)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.2 MB",
        "1.0 MB",
        "3.2 GB",
        "-",
    ]


def test_times_are_told_on_this_machines_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_time(None) == "-"
    assert local_time("some day") == "some day"
    code = "from robotrace.cli.output import local_time; print(local_time('2026-01-02T23:30:05.250000Z'))"
    result = subprocess.run(
        [sys.executable, "-c", code], env=child_environment({"TZ": "UTC-2"}), capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "2026-01-03 01:30"


def test_what_user_code_prints_goes_to_stderr_while_stdout_is_for_json() -> None:
    code = (
        "import os, sys\n"
        "from robotrace.cli.output import only_json_on_stdout, print_json\n"
        "with only_json_on_stdout(True):\n"
        "    print('from Python')\n"
        "    os.write(1, b'from C\\n')\n"
        "    os.system('echo from a child')\n"
        "print_json({'name': 'grün'})\n"
    )

    def run(encoding: str) -> subprocess.CompletedProcess[str]:
        environment = child_environment({"PYTHONIOENCODING": encoding})
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=True
        )

    assert run("utf-8").stdout == '{\n  "name": "grün"\n}\n'
    result = run("ascii")
    assert result.stdout == '{\n  "name": "gr\\u00fcn"\n}\n'
    assert sorted(result.stderr.split("\n")) == ["", "from C", "from Python", "from a child"]
