"""Which of those who label an episode is heard, field by field."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

pytest.importorskip("numpy")
pytest.importorskip("av")

import robotrace
from robotrace.capture.clock import EnvClock
from robotrace.capture.decisions import Decisions
from robotrace.capture.environment import EnvFacts
from robotrace.capture.options import resolve_options
from robotrace.context.run import enter_job

FIELDS = ("policy_version", "env_version", "git_sha")
CLOCK = EnvClock("fps", 20_000_000)


class Model:
    """What a framework says."""

    def __init__(self, **said: Any) -> None:
        self.said = said

    def begin(self) -> Mapping[str, Any]:
        return self.said

    def end(self) -> Mapping[str, Any]:
        return {}


class Arm:
    """An environment, as far as its facts are read."""


def create(labels: Model | None = None, reset_seed: int | None = None, **options: Any) -> dict[str, Any]:
    """The create payload of an episode that begins now."""
    decisions = Decisions(resolve_options(options), "test")
    decisions.asked = labels
    start = decisions.start(reset_seed, can_render=False)
    assert start is not None
    return dict(decisions.create(start, "uuid", clock=CLOCK, facts=EnvFacts(Arm())))


def at(level: str, field: str, value: Any, patch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    """Say it at a level; what is left for :func:`create`."""
    if level == "argument":
        return {field: value}
    if level == "run":
        robotrace.run(**{field: value})
    elif level == "job":
        enter_job(**{field: value})
    elif level == "environment":
        patch.setenv(f"ROBOTRACE_{field.upper()}", str(value))
    elif level == "framework":
        return {"labels": Model(**{field: value})}
    elif level == "reset":
        return {"reset_seed": value}
    return {}


ORDER = {
    "policy_version": ("argument", "run", "job", "framework", "environment", "inferred"),
    "env_version": ("argument", "run", "job", "environment", "inferred"),
    "git_sha": ("argument", "run", "job", "environment", "inferred"),
    "seed": ("argument", "reset", "run", "job", "framework", "environment"),
}
PAIRS = [
    pytest.param(field, higher, lower, id=f"{field}-{higher}-{lower}")
    for field, levels in ORDER.items()
    for higher, lower in itertools.pairwise(levels)
]


@pytest.mark.parametrize(("field", "higher", "lower"), PAIRS)
@pytest.mark.parametrize("turned", [False, True])
def test_who_goes_before_whom(
    field: str, higher: str, lower: str, turned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, Any] = {higher: 1, lower: 2} if field == "seed" else {higher: "first", lower: "second"}
    given: dict[str, Any] = {}
    for level in (lower, higher) if turned else (higher, lower):
        given |= at(level, field, values[level], monkeypatch)
    assert create(**given)[field] == values[higher]


def test_a_recorders_label_goes_before_its_argument_and_the_run() -> None:
    decisions = Decisions(resolve_options({"policy_version": "argument"}), "test")
    decisions.label(policy_version="now", metadata=None, name=None)
    with robotrace.run(policy_version="run"):
        start = decisions.start(None, can_render=False)
    assert start is not None
    assert decisions.create(start, "uuid", clock=CLOCK)["policy_version"] == "now"


def test_nothing_is_made_up_where_nobody_says_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robotrace.capture.decisions.find_git_sha", lambda: None)
    payload = create()
    assert not {"policy_version", "git_sha", "seed"} & payload.keys()
    assert not {"run", "tags"} & payload["metadata"].keys()


def test_tags_add_up_and_metadata_are_merged_the_nearer_over_the_farther() -> None:
    enter_job(tags=["sweep"], metadata={"a": "job", "b": "job", "c": "job", "d": "job"})
    with robotrace.run(tags=["night", "sweep"], metadata={"a": "run", "b": "run", "c": "run"}, project="arm"):
        payload = create(
            Model(metadata={"d": "model", "e": "model"}), tags=["mine", "night"], metadata={"a": "mine", "b": "mine"}
        )
    metadata = payload["metadata"]
    assert metadata["tags"] == ["sweep", "night", "mine"]
    assert [metadata[key] for key in "abcde"] == ["mine", "mine", "run", "job", "model"]
    assert metadata["run"]["project"] == "arm"


def test_an_episode_is_of_the_run_in_which_it_was_reset() -> None:
    decisions = Decisions(resolve_options({}), "test")
    with robotrace.run(policy_version="v1", name="night") as first:
        start = decisions.start(None, can_render=False)
    assert start is not None
    with robotrace.run(policy_version="v2"):
        payload = decisions.create(start, "uuid", clock=CLOCK, facts=EnvFacts(Arm()))
    assert (payload["policy_version"], payload["metadata"]["run_id"]) == ("v1", first.id)
    assert payload["metadata"]["run"] == {"name": "night"}


@pytest.mark.parametrize(
    ("options", "name"), [({}, "night #0"), ({"name": "mine"}, "mine"), ({"robot": "arm-2"}, "night #0")]
)
def test_episodes_without_a_name_are_called_after_the_run(options: Mapping[str, Any], name: str) -> None:
    with robotrace.run(name="night"):
        assert create(**options)["name"] == name


def test_what_a_deployment_would_refuse_is_cut_rather_than_its_episode_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in FIELDS:
        monkeypatch.setenv(f"ROBOTRACE_{field.upper()}", "x" * 1000)
    payload = create()
    assert [len(payload[field]) for field in FIELDS] == [200, 200, 64]


def test_an_environment_variable_that_is_set_between_two_resets_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = Decisions(resolve_options({}), "test")
    versions: list[Any] = []
    for version in ("v1", "v2"):
        monkeypatch.setenv("ROBOTRACE_POLICY_VERSION", version)
        monkeypatch.setenv("ROBOTRACE_SEED", "lucky")  # said at the next recorder; here it is no seed
        start = decisions.start(None, can_render=False)
        assert start is not None
        payload = decisions.create(start, "uuid", clock=CLOCK)
        versions.append((payload["policy_version"], payload.get("seed")))
    assert versions == [("v1", None), ("v2", None)]


def test_the_client_says_what_the_run_says_and_nothing_outside_of_one(
    client: robotrace.Client, deployment: Any, sent: Callable[[], dict[str, Any]]
) -> None:
    client.start_episode(metadata={"a": 1})
    assert sent() == {"source": "real", "metadata": {"a": 1}}
    with robotrace.run(policy_version="v1", seed=0, project="arm", tags=["night"], metadata={"a": 0, "b": 0}) as run:
        client.start_episode(policy_version="mine", metadata={"a": 1})
    body = sent()
    assert (body["policy_version"], body["seed"]) == ("mine", 0)
    assert body["metadata"] == {
        "run_id": run.id,
        "run": {"project": "arm"},
        "tags": ["night"],
        "a": 1,
        "b": 0,
    }


@pytest.fixture
def sent(deployment: Any) -> Callable[[], dict[str, Any]]:
    """The body of the latest create, without what every one has."""

    def latest() -> dict[str, Any]:
        body = next(call.json for call in reversed(deployment.requests) if call.target.endswith("/episode"))
        body["metadata"].pop("client_episode_id")
        return {key: value for key, value in body.items() if key != "request_uploads"}

    return latest
