"""The benchmarks run, in tiny sizes; what they print is well-formed. No time is asserted."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BENCHMARKS = ROOT / "benchmarks"

if sys.platform != "linux":
    pytest.skip("memory and children are read from /proc", allow_module_level=True)
pytest.importorskip("gymnasium")
pytest.importorskip("pygame")
pytest.importorskip("av")


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(BENCHMARKS / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def row(case: dict, contestant: str, environment: str = "own") -> dict:
    (found,) = (r for r in case["contestants"] if (r["name"], r["environment"]) == (contestant, environment))
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("benchmarks")
    out = folder / "results.json"
    names = ("steps-cartpole", "dict-4", "deferred-cartpole", "end", "losses", "memory-1000", "killed", "startup-run")
    cases = [f"--only={name}" for name in names]
    done = run("--quick", "--no-peers", f"--peers-in={folder / 'peers'}", f"--out={out}", *cases)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_every_case_runs_all_that_needs_no_other_environment(results: dict) -> None:
    assert [case["name"] for case in results["cases"]] == [
        "steps-cartpole", "dict-4", "deferred-cartpole", "end", "losses", "killed", "memory-1000",
        "startup-run",
    ]  # fmt: skip
    for case in results["cases"]:
        for contestant in case["contestants"]:
            if contestant["environment"] == "own":
                assert contestant["status"] == "run", (case["name"], contestant)
                spread = contestant["figures"][case["figure"].partition(".")[0]]
                assert spread["p10"] <= spread["median"] <= spread["p90"]
                assert len(spread["rounds"]) == case["rounds"]
            else:
                assert contestant["status"] == "not run"
                assert "--no-peers" in contestant["reason"]


def test_figures_are_set_against_the_bare_loop_of_the_same_round(results: dict) -> None:
    case = next(case for case in results["cases"] if case["name"] == "steps-cartpole")
    ours, bare = row(case, "ours")["figures"], row(case, "bare")["figures"]
    pairs = list(zip(ours["wall_us"]["rounds"], bare["wall_us"]["rounds"], strict=True))
    assert ours["wall_us.over_bare"]["rounds"] == pytest.approx([a - b for a, b in pairs], abs=1e-3)
    assert ours["wall_us.ratio"]["rounds"] == pytest.approx([a / b for a, b in pairs], rel=1e-4)
    assert "wall_us.over_bare" not in bare


def test_every_target_of_what_ran_is_judged(results: dict) -> None:
    targets = [target for case in results["cases"] for target in case["targets"]]
    assert len(targets) >= 10
    assert all(target["met"] in (True, False) for target in targets)


def test_nothing_is_lost_in_the_recorded_runs(results: dict) -> None:
    losses, killed = (next(c for c in results["cases"] if c["name"] == name) for name in ("losses", "killed"))
    ours = row(losses, "ours")["figures"]
    assert ours["frames_in_file"]["rounds"] == [losses["size"]["steps"] + 1]
    assert {target["met"] for target in losses["targets"]} == {True}
    assert row(killed, "ours")["figures"]["frames_missing"]["rounds"] == [0]


def test_the_results_say_where_they_come_from(results: dict) -> None:
    assert results["quick"] is True
    assert results["machine"]["cores"] >= 1
    assert set(results["environments"]["own"]["packages"]) >= {"gymnasium", "numpy", "av"}
    assert "missing" in results["environments"]["learning"]
    assert "robotrace-dev" not in results["environments"]["own"]["packages"]
    assert all(case["size"] and case["took_s"] >= 0 for case in results["cases"])


def test_the_tables_can_be_made_of_them(results: dict) -> None:
    from table import render

    text = render(results)
    assert "A quick run" in text
    assert text.count("### ") == len(results["cases"])
    assert "not run: its environment is not made (--no-peers)" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")
    quiet = copy.deepcopy(results)
    quiet["quick"] = False
    assert "A quick run" not in render(quiet)
    assert "| quick run |" in text
    assert "| quick run |" not in render(quiet)
    assert "| yes |" in render(quiet)
    assert "| yes |" not in text


def test_one_case_is_measured_again_among_the_others(results: dict, tmp_path: Path) -> None:
    from catalogue import CASES
    from table import render

    out = tmp_path / "results.json"
    before = copy.deepcopy(results)
    before["cases"] = [case for case in before["cases"] if case["name"] not in ("dict-4", "end")]
    out.write_text(json.dumps(before))
    done = run("--quick", "--no-peers", f"--peers-in={tmp_path}", "--update", "--only=dict-4", f"--out={out}")
    assert done.returncode == 0, done.stderr
    after = json.loads(out.read_text())
    assert {**after, "cases": None} == {**before, "cases": None}
    assert [case["name"] for case in after["cases"]] == [case.name for case in CASES]
    found = {case["name"]: case for case in after["cases"]}
    for case in before["cases"]:
        assert found[case["name"]] == case
    assert row(found["dict-4"], "ours")["status"] == "run"
    assert found["dict-4"]["apart"]["made"] >= before["made"]
    assert found["dict-4"]["apart"]["environments"]["own"] == before["environments"]["own"]
    assert {r["reason"] for r in found["end"]["contestants"]} == {"it was not measured"}
    text = render(after)
    assert text.count("Measured apart from the others: ") == 1
    assert f"Measured apart from the others: {found['dict-4']['apart']['made'][:10]}" in text


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (None, "there are no results in"),
        ("[]", "holds no results"),
        ("half a fi", "holds no results"),
        ('{"quick": false, "cases": []}', "a quick run and of a real one"),
    ],
)
def test_what_cannot_be_updated_is_named_before_anything_is_measured(
    there: str | None, why: str, tmp_path: Path
) -> None:
    out = tmp_path / "results.json"
    if there is not None:
        out.write_text(there)
    done = run("--quick", "--update", "--only=dict-4", f"--out={out}")
    assert done.returncode == 2
    assert why in done.stderr
    assert (out.read_text() if out.exists() else None) == there


def test_the_page_holds_the_tables_of_the_committed_results() -> None:
    from table import PAGE, RESULTS, rewrite

    page = PAGE.read_text(encoding="utf-8")
    assert rewrite(page, json.loads(RESULTS.read_text(encoding="utf-8"))) == page


def test_the_committed_results_hold_every_case_and_name_no_folder() -> None:
    from catalogue import CASES
    from table import RESULTS

    text = RESULTS.read_text(encoding="utf-8")
    assert [case["name"] for case in json.loads(text)["cases"]] == [case.name for case in CASES]
    assert str(Path.home()) not in text
    assert os.sep + "tmp" + os.sep not in text


def test_every_case_names_its_parts() -> None:
    from catalogue import CASES, ENVIRONMENTS

    environments = {environment.name for environment in ENVIRONMENTS}
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        names = [(contestant.environment, contestant.name) for contestant in case.contestants]
        assert len(set(names)) == len(names)
        assert {contestant.environment for contestant in case.contestants} <= environments
        assert {target.contestant for target in case.targets} <= {contestant.name for contestant in case.contestants}
        assert set(case.quick) == set(case.size)
        assert (BENCHMARKS / "cases" / f"{case.module}.py").exists()


def test_an_unknown_case_is_named() -> None:
    done = run("--only", "stepz")
    assert done.returncode == 2
    assert "'stepz'" in done.stderr


def test_a_target_is_met_at_its_bound_and_unknown_without_a_figure() -> None:
    from figures import judge
    from plan import Target

    def met(target: Target, figure: float | None, same: bool | None = None) -> bool | None:
        found = {"name": "ours", "status": "run", "figures": {} if figure is None else {"x": {"median": figure}}}
        return judge(target, [found if same is None else {**found, "same_as_bare": {"x": same}}])["met"]

    assert met(Target("t", "ours", "x", 1.0), 1.0) is True
    assert met(Target("t", "ours", "x", 1.0), 1.01) is False
    assert met(Target("t", "ours", "x", 0.97, "at least"), 0.97) is True
    assert met(Target("t", "ours", "x", 0.97, "at least"), 0.96) is False
    assert met(Target("t", "ours", "x", 1.0), None) is None
    assert met(Target("t", "ours", "x", None, "same"), None, same=False) is False
    assert met(Target("t", "ours", "x", None, "same"), None, same=True) is True
    assert met(Target("t", "ours", "x", None, "same"), None) is None


def test_a_contestant_that_failed_in_one_round_is_not_run() -> None:
    from catalogue import CASES
    from figures import summarise
    from plan import Contestant

    answers = {("own", "x"): [{"figures": {"a": 1.0}, "facts": {}}, {"error": "OSError: disk full"}]}
    found = summarise(CASES[0], Contestant("x", "X"), answers)
    assert (found["status"], found["reason"]) == ("not run", "OSError: disk full")
    absent = summarise(CASES[0], Contestant("y", "Y", absent="not built"), answers)
    assert (absent["status"], absent["reason"]) == ("not run", "not built")


def test_a_worker_that_hangs_or_dies_costs_its_measurement_only(tmp_path: Path, monkeypatch) -> None:
    import workers
    from plan import Environment

    (tmp_path / "worker.py").write_text("import sys, time\nsys.stdin.readline()\ntime.sleep(60)\n")
    monkeypatch.setattr(workers, "_HERE", tmp_path)
    with workers.Worker(Environment("own"), sys.executable) as worker:
        assert worker.measure("steps", "bare", {}, 0.2) == {"error": "took longer than 0 s"}
    (tmp_path / "worker.py").write_text("import sys\nsys.stdin.readline()\nsys.exit('no such recorder')\n")
    with workers.Worker(Environment("own"), sys.executable) as worker:
        answer = worker.measure("steps", "bare", {}, 60)
        assert answer == {"error": "its process ended with 1: no such recorder"}
        assert not worker.alive


def test_a_worker_sees_no_setting_of_the_users(tmp_path: Path, monkeypatch) -> None:
    from plan import Environment
    from workers import worker_variables

    monkeypatch.setenv("ROBOTRACE_API_KEY", "rt_secret")
    ours, theirs = (worker_variables(Environment("e", with_ours=with_ours), tmp_path) for with_ours in (True, False))
    assert "ROBOTRACE_API_KEY" not in ours
    assert ours["ROBOTRACE_SPOOL_DIR"].startswith(str(tmp_path))
    assert ours["PYTHONPATH"].split(os.pathsep) == [str(BENCHMARKS), str(ROOT / "src"), str(ROOT / "integrations")]
    assert theirs["PYTHONPATH"] == str(BENCHMARKS)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("# started on …\n\n123456,,instructions:u,2000,100.00,,\n", 123456),
        ("<not supported>,,instructions:u,0,100.00,,\n", None),
        ("", None),
    ],
)
def test_perfs_count_is_read_or_missing(text: str, count: int | None) -> None:
    from workers import instructions_in

    assert instructions_in(text) == count
