"""What is said once about a process, at every level, and how it is undone."""

from __future__ import annotations

import os
import threading
import uuid

import pytest

import robotrace
from robotrace.context.run import enter_job, run_facts
from robotrace.errors import ConfigurationError


def test_nothing_is_said_where_nobody_says_anything() -> None:
    facts = run_facts()
    assert not facts.active
    assert (facts.policy_version, facts.seed, facts.tags, facts.metadata) == (None, None, (), {})
    assert run_facts().id == facts.id == str(uuid.UUID(facts.id))
    assert facts.as_metadata() == {"run_id": facts.id}


def test_a_run_holds_for_the_whole_process_at_once_and_until_its_end() -> None:
    run = robotrace.run(policy_version="v1", env_version="e", git_sha="a" * 40, seed=3, project="arm", name="night")
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(run_facts()))
    thread.start()
    thread.join()
    (facts,) = seen
    assert facts == run_facts()
    assert (facts.policy_version, facts.env_version, facts.git_sha, facts.seed) == ("v1", "e", "a" * 40, 3)
    assert facts.as_metadata() == {"run_id": run.id, "run": {"project": "arm", "name": "night"}}
    run.end()
    run.end()
    assert not run_facts().active


def test_the_inner_run_wins_field_by_field() -> None:
    with robotrace.run(policy_version="v1", seed=1, tags=["a", "b"], metadata={"task": "lift", "arm": 1}) as outer:
        with robotrace.run(policy_version="v2", tags=["b", "c"], metadata={"arm": 2}) as inner:
            facts = run_facts()
            assert (facts.policy_version, facts.seed) == ("v2", 1)
            assert facts.tags == ("a", "b", "c")
            assert facts.metadata == {"task": "lift", "arm": 2}
            assert inner.id == outer.id == facts.id
        assert (run_facts().policy_version, run_facts().metadata) == ("v1", {"task": "lift", "arm": 1})
    assert not run_facts().active


def test_one_after_the_other_they_are_two_runs() -> None:
    with robotrace.run(seed=0) as first:
        pass
    with robotrace.run(seed=0) as second:
        assert run_facts().seed == 0
    assert len({first.id, second.id, run_facts().id}) == 3


def test_an_exception_ends_it_and_goes_on() -> None:
    with pytest.raises(KeyError), robotrace.run(policy_version="v1"):
        raise KeyError
    assert not run_facts().active


def test_an_outer_run_that_ends_first_takes_only_its_own_along() -> None:
    outer, inner = robotrace.run(policy_version="v1", seed=1), robotrace.run(policy_version="v2")
    outer.end()
    assert (run_facts().policy_version, run_facts().seed) == ("v2", None)
    inner.end()
    assert "ROBOTRACE_RUN_ID" not in os.environ


def test_a_job_is_below_the_run_whichever_came_first() -> None:
    with robotrace.run(policy_version="mine"):
        leave = enter_job(policy_version="jobs", seed=4, tags=["sweep"], metadata={"hydra": {"num": 1}})
        facts = run_facts()
        assert (facts.policy_version, facts.seed, facts.tags) == ("mine", 4, ("sweep",))
        assert facts.metadata == {"hydra": {"num": 1}}
        leave()
        leave()
        assert run_facts().seed is None


def test_each_job_of_a_process_is_a_run_of_its_own() -> None:
    ids = []
    for num in range(2):
        leave = enter_job(seed=num)
        with robotrace.run(policy_version="v1"):
            ids.append(run_facts().id)
        assert run_facts().id == ids[-1]
        leave()
    assert len({*ids, run_facts().id}) == 3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"policy_version": 3}, "policy_version must be text, got 3"),
        ({"env_version": "x" * 201}, "env_version may have 200 characters, this one has 201"),
        ({"git_sha": "x" * 65}, "git_sha may have 64 characters"),
        ({"name": b"n"}, "name must be text"),
        ({"project": 1}, "project must be text"),
        ({"seed": "7"}, "seed must be a whole number, got '7'"),
        ({"seed": True}, "seed must be a whole number, got True"),
        ({"seed": 1.0}, "seed must be a whole number"),
        ({"seed": 2**63}, "seed must fit into 64 bits"),
        ({"tags": "night"}, "tags must be a list of texts, got 'night'"),
        ({"tags": [1]}, "tags must be a list of texts"),
        ({"tags": (tag for tag in "ab")}, "tags must be a list of texts"),
        ({"metadata": [("a", 1)]}, "metadata must be a mapping"),
    ],
)
@pytest.mark.parametrize("enter", [robotrace.run, enter_job])
def test_what_does_not_fit_is_named_and_changes_nothing(enter, given, says) -> None:
    before = run_facts()
    with pytest.raises(ConfigurationError, match=says):
        enter(**{"policy_version": "v1", **given})
    assert run_facts() == before
    assert "ROBOTRACE_RUN_ID" not in os.environ


def test_an_argument_that_a_job_does_not_have_is_named_with_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"unknown argument 'policy_versoin'; did you mean 'policy_version'\?"):
        enter_job(policy_versoin="v1")
    with pytest.raises(TypeError, match="unknown argument 'x'; there are policy_version, env_version"):
        enter_job(x=1)


def test_the_metadata_are_those_of_the_call_whatever_they_are_made_of() -> None:
    numpy = pytest.importorskip("numpy")
    changing = {"gains": numpy.array([1, 2]), "limits": {"nan": float("nan")}}
    with robotrace.run(metadata=changing, seed=numpy.int64(5)):
        changing["gains"] = changing["limits"] = None
        facts = run_facts()
    assert facts.metadata["gains"] == [1, 2]
    assert facts.metadata["limits"] == {"nan": None}
    assert type(facts.seed) is int


def test_a_run_shows_what_was_said() -> None:
    with robotrace.run(policy_version="v1", metadata={"long": "text"}) as run:
        assert repr(run) == f"<robotrace.run(policy_version='v1') {run.id}>"
