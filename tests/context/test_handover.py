"""How a run reaches worker processes, by every way of starting one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import robotrace
from robotrace.context import handover
from robotrace.context.run import enter_job, run_facts

TELLING = """
    import json, multiprocessing, os, subprocess, sys
    import robotrace
    from robotrace.context.run import enter_job, run_facts

    def tell(pipe):
        facts = run_facts()
        seen = [facts.policy_version, facts.seed, list(facts.tags), dict(facts.metadata), facts.id]
        with robotrace.run(policy_version="own") as own:
            seen += [run_facts().policy_version, run_facts().seed, own.id]
        pipe.send(seen)

    def ask(method):
        context = multiprocessing.get_context(method)
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=tell, args=(theirs,))
        process.start()
        seen = mine.recv()
        process.join()
        return seen
"""


def run_script(tmp_path: Path, script: str, **variables: str) -> list[object]:
    """What a script prints, one JSON value a line."""
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(TELLING) + textwrap.dedent(script))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    command = [sys.executable, "-W", "error", str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_is_in_the_run_in_which_it_was_started(tmp_path: Path, method: str) -> None:
    said, outside = run_script(
        tmp_path,
        f"""
        if __name__ == "__main__":
            enter_job(policy_version="job", seed=0, tags=["sweep"])
            with robotrace.run(policy_version="v1", tags=["night"], metadata={{"task": "lift", "api_key": "k"}}) as run:
                print(json.dumps([ask("{method}"), run.id]))
            print(json.dumps([ask("{method}"), run.id]))
        """,
    )
    seen, run_id = said
    assert seen[:4] == ["v1", 0, ["sweep", "night"], {"task": "lift", "api_key": "k"}]
    assert seen[4:] == [run_id, "own", 0, run_id]
    assert outside[0][:4] == ["job", 0, ["sweep"], {}]


def test_a_fork_server_that_is_older_than_the_run_says_nothing_of_the_run_before(tmp_path: Path) -> None:
    first, second, none = run_script(
        tmp_path,
        """
        if __name__ == "__main__":
            for seed in (1, 2):
                leave = enter_job(seed=seed, metadata={"only_in": seed})
                print(json.dumps(ask("forkserver")))
                leave()
            print(json.dumps(ask("forkserver")))
        """,
    )
    assert (first[1], first[3]) == (1, {"only_in": 1})
    assert (second[1], second[3]) == (2, {"only_in": 2})
    assert none[1:4] == [None, [], {}]
    assert len({first[4], second[4], none[4]}) == 3


def test_a_process_that_is_started_in_any_other_way_has_it_from_the_environment(tmp_path: Path) -> None:
    inner = "from robotrace.context.run import *; f = run_facts(); print(f.id, f.policy_version, dict(f.metadata))"
    (line,) = run_script(
        tmp_path,
        f"""
        run = robotrace.run(policy_version="v1", metadata={{"api_key": "k", "net": {{"token": "t", "width": 8}}}})
        inner = subprocess.run([sys.executable, "-c", {inner!r}], capture_output=True, text=True, check=True)
        print(json.dumps([inner.stdout.strip(), run.id]))
        """,
    )
    text, run_id = line
    assert text == f"{run_id} v1 {{'net': {{'width': 8}}}}"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_episodes_that_vector_environments_record_in_their_workers_are_of_the_run(tmp_path: Path, method: str) -> None:
    pytest.importorskip("gymnasium")
    pytest.importorskip("av")
    from recorded import sealed

    (run_id,) = run_script(
        tmp_path,
        f"""
        import gymnasium as gym
        from robotrace_gymnasium import RoboTraceRecorder

        def make():
            return RoboTraceRecorder(gym.make("CartPole-v1", max_episode_steps=5), max_per_minute=None)

        if __name__ == "__main__":
            with robotrace.run(policy_version="v1", metadata={{"task": "balance"}}) as run:
                envs = gym.vector.AsyncVectorEnv([make] * 2, context="{method}")
                envs.reset(seed=3)
                for _ in range(12):
                    envs.step(envs.action_space.sample())
                envs.close()
            print(json.dumps(run.id))
        """,
        ROBOTRACE_MODE="offline",
    )
    episodes = sealed()
    assert len(episodes) >= 4
    said = {(one.create["policy_version"], one.metadata["run_id"], one.metadata["task"]) for one in episodes}
    assert said == {("v1", run_id, "balance")}
    assert {one.metadata["host"]["pid"] for one in episodes}.isdisjoint({os.getpid()})
    assert {3, 4} <= {one.create.get("seed") for one in episodes}


def test_joblibs_workers_are_in_the_run(tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    ((seen, run_id),) = run_script(
        tmp_path,
        """
        import joblib

        def look(_):
            from robotrace.context.run import run_facts
            facts = run_facts()
            return [os.getpid() != parent, facts.policy_version, facts.metadata["task"], facts.id]

        parent = os.getpid()
        if __name__ == "__main__":
            with robotrace.run(policy_version="v1", metadata={"task": "lift"}) as run:
                seen = joblib.Parallel(n_jobs=2)(joblib.delayed(look)(n) for n in range(2))
            print(json.dumps([seen, run.id]))
        """,
    )
    assert seen == [[True, "v1", "lift", run_id]] * 2


def test_workers_share_the_id_of_a_process_in_which_nobody_began_a_run(tmp_path: Path) -> None:
    ((seen, mine),) = run_script(
        tmp_path,
        """
        print(json.dumps([ask("fork"), run_facts().id]))
        """,
    )
    assert seen[4] == mine


def test_an_id_that_was_given_holds_for_all_processes_that_begin_the_run(tmp_path: Path) -> None:
    ((outer, inner, jobs),) = run_script(
        tmp_path,
        """
        with robotrace.run() as run, robotrace.run(seed=1) as inner:
            outer = [run.id, inner.id]
        leave = enter_job()
        print(json.dumps([*outer, run_facts().id]))
        """,
        ROBOTRACE_RUN_ID="night-7",
    )
    assert (outer, inner, jobs) == ("night-7",) * 3


def test_the_environment_is_what_it_was_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOTRACE_RUN_ID", "given")
    before = dict(os.environ)
    outer = robotrace.run(policy_version="v1")
    during = dict(os.environ)
    with robotrace.run(policy_version="v2"):
        assert json.loads(os.environ["ROBOTRACE_RUN_CONTEXT"])["run"]["policy_version"] == "v2"
    assert dict(os.environ) == during
    assert set(during) - set(before) == {"ROBOTRACE_RUN_CONTEXT"}
    outer.end()
    assert dict(os.environ) == before


def test_what_somebody_else_has_set_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with robotrace.run(policy_version="v1"):
        monkeypatch.setenv("ROBOTRACE_RUN_ID", "another")
    assert os.environ["ROBOTRACE_RUN_ID"] == "another"
    assert run_facts().id == "another"


def test_metadata_and_tags_that_are_too_long_for_a_variable_are_left_out_of_it() -> None:
    with robotrace.run(policy_version="v1", metadata={"long": "x" * 40_000}, tags=["y" * 200_000]):
        assert json.loads(os.environ["ROBOTRACE_RUN_CONTEXT"]) == {"run": {"policy_version": "v1"}}
        assert len(run_facts().metadata["long"]) == 40_000
        assert subprocess.run([sys.executable, "-c", ""], check=False).returncode == 0


def test_a_context_that_cannot_be_read_is_none_and_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    for text in ("{", "[]", '{"run": 7}', "null"):
        monkeypatch.setenv("ROBOTRACE_RUN_CONTEXT", text)
        assert run_facts().policy_version is None
        assert run_facts().policy_version is None
    assert caplog.text.count("ROBOTRACE_RUN_CONTEXT cannot be read") == 1


def test_of_a_context_of_another_version_what_fits_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"run": {"policy_version": 7, "seed": True, "project": "arm", "tags": [{}], "colour": "red"}, "planet": {}}
    monkeypatch.setenv("ROBOTRACE_RUN_CONTEXT", json.dumps(said))
    facts = run_facts()
    assert (facts.policy_version, facts.seed, facts.project, facts.active) == (None, None, "arm", True)


def test_a_run_that_was_begun_before_multiprocessing_was_imported_is_in_its_workers_too(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(
        textwrap.dedent(
            """
            import runpy, sys
            import robotrace

            def main():
                run = robotrace.run(seed=1)
                assert "multiprocessing" not in sys.modules
                import multiprocessing

                for _ in range(2):
                    context = multiprocessing.get_context("forkserver")
                    process = context.Process(target=runpy.run_path, args=["worker.py"])
                    process.start()
                    process.join()
                    run.end()
                    run = robotrace.run(seed=2)

            if __name__ == "__main__":
                main()
            """
        )
    )
    (tmp_path / "worker.py").write_text("from robotrace.context.run import run_facts\nprint(run_facts().seed)\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "late.py"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["1", "2"], "")


def test_leaving_a_job_leaves_what_was_inherited() -> None:
    handover.publish("outer", {"run": {"policy_version": "v1"}})
    inherited = os.environ["ROBOTRACE_RUN_CONTEXT"]
    handover._published.clear()  # as if another process had said it
    handover._before.clear()
    leave = enter_job(policy_version="job", seed=2)
    assert (run_facts().policy_version, run_facts().seed, run_facts().id) == ("v1", 2, "outer")
    leave()
    assert (run_facts().policy_version, run_facts().seed) == ("v1", None)
    assert os.environ.pop("ROBOTRACE_RUN_CONTEXT") == inherited
    del os.environ["ROBOTRACE_RUN_ID"]
