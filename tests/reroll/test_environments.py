"""The table of docs/reproducing.md is true: which of Gymnasium's environments happen again, which do not, and why."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

gym = pytest.importorskip("gymnasium")
pytest.importorskip("av")

from recorded import RecordedEpisode, sealed  # noqa: E402
from reruns import rerun_all  # noqa: E402

from robotrace_gymnasium import RoboTraceRecorder  # noqa: E402

DOCS = Path(__file__).parents[2] / "docs" / "reproducing.md"
ROW = re.compile(r"^\| `(?P<env>[\w-]+)` \| (?P<single>[^|]+) \| (?P<sync>[^|]+) \| (?P<async>[^|]+) \|$", re.MULTILINE)
NOTE = re.compile(r"^\[(?P<mark>[a-z])\] [^“]*“(?P<reason>[^”]+)”", re.MULTILINE)
EVERY, FIRST = "every one", "the first of each"
STEPS = 20
NO_STEP = "b"

pytestmark = pytest.mark.skipif(
    tuple(int(part) for part in gym.__version__.split(".")[:2]) < (1, 4), reason="the table is of the newest Gymnasium"
)


def shipped() -> list[str]:
    """The newest version of every environment that Gymnasium ships for NumPy."""
    names: dict[str, list[str]] = {}
    for env_id, spec in gym.registry.items():
        module = str(spec.entry_point).partition(":")[0]
        if module.startswith("gymnasium.envs.") and spec.namespace is None and not env_id.startswith("GymV2"):
            names.setdefault(spec.name, []).append(env_id)
    return sorted(max(ids) for ids in names.values())


def table() -> dict[str, dict[str, str]]:
    return {row["env"]: row.groupdict() for row in ROW.finditer(DOCS.read_text(encoding="utf-8"))}


def reasons() -> dict[str, str]:
    return {note["mark"]: " ".join(note["reason"].split()) for note in NOTE.finditer(DOCS.read_text(encoding="utf-8"))}


@pytest.fixture(autouse=True)
def _aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from robotrace import session

    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log where it stands
    session.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of environments that are not the newest of their kind, and of MuJoCo
        yield
    session.reset()


def test_every_environment_that_gymnasium_ships_is_in_the_table() -> None:
    assert sorted(table()) == shipped()


def scripted(space: Any) -> Iterator[Any]:
    """Three actions in turn, seven steps each."""
    actions = [space.sample() for _ in range(3)]
    return (actions[step // 7 % 3] for step in itertools.count())


def random(space: Any) -> Iterator[Any]:
    return (space.sample() for _ in itertools.count())


def play(env: Any, policy: Callable[[Any], Iterator[Any]], *, resets: bool, name: str) -> None:
    """Episodes of which the first is seeded: a seed, an unseeded reset, another seed."""
    recorder = RoboTraceRecorder(env, max_per_minute=None, images="arrays", keep_partial="always", name=name)
    recorder.action_space.seed(3)
    actions = policy(recorder.action_space)
    for reset in ({"seed": 17}, {}, {"seed": 4}):
        recorder.reset(**reset)
        for _ in range(STEPS if resets else 2 * STEPS + 3):
            _, _, terminated, truncated, _ = recorder.step(next(actions))
            if resets and (terminated or truncated):
                break
    recorder.close()
    recorder.flush()


def recorded(env_id: str, mode: str) -> bool:
    """Whether the environment can be made here."""

    def make() -> Any:
        return gym.make(env_id, max_episode_steps=STEPS)

    try:
        make().close()
    except (ImportError, gym.error.DependencyNotInstalled):
        return False
    for policy in (random, scripted):
        name = f"{env_id} {policy.__name__}"
        if mode == "single":
            play(make(), policy, resets=True, name=name)
        elif mode == "sync":
            play(gym.vector.SyncVectorEnv([make] * 2), policy, resets=False, name=name)
        else:
            play(gym.vector.AsyncVectorEnv([make] * 2), policy, resets=False, name=name)
    return True


@pytest.mark.parametrize("mode", ["single", "sync", "async"])
def test_what_the_table_says_of_every_environment_is_so(mode: str) -> None:
    rows, known = table(), reasons()
    absent = {env_id for env_id in rows if not recorded(env_id, mode)}  # a simulator that is not installed
    episodes = sealed()
    assert episodes
    wrong: list[str] = []
    seen: dict[str, int] = dict.fromkeys(rows, 0)
    for episode, verdict in zip(episodes, rerun_all(episodes), strict=True):
        env_id = episode.metadata["env"]["id"]
        seen[env_id] += 1
        cell = rows[env_id][mode].strip()
        claim, _, marks = cell.partition(" [")
        expected = claim == EVERY or (claim == FIRST and episode.metadata["episode_index"] == 0)
        if (
            mode == "async" and _steps(episode) == 0
        ):  # and, below the table, of one that was cut off before its first step
            expected, marks = False, f"{marks}] [{NO_STEP}"
        told = f"{env_id} {episode.create['name']} #{episode.metadata['episode_index']}: {verdict.in_short}"
        if verdict.verdict == "reproduced":
            assert verdict.steps == _steps(episode)
            continue
        if expected or not any(known[mark] in str(verdict.reason) for mark in marks.strip(" []").split("] [") if mark):
            wrong.append(told)
    assert wrong == []
    assert {env_id for env_id, count in seen.items() if count == 0} == absent


def _steps(episode: RecordedEpisode) -> int:
    steps = episode.metadata["outcome"]["steps"]
    assert isinstance(steps, int)
    return steps
