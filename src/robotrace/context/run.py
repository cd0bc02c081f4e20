"""The run context: what is said once about a whole process, and holds for every episode that begins in it.

Two levels, each a stack whose latest entry wins field by field: :func:`run` is the user's, :func:`enter_job` below it
is a launcher's (Hydra, ``robotrace run``). What a process inherited lies below its own of the same level;
:mod:`robotrace.context.handover` says how it gets there.

Threads that record read while another one sets, without a lock: a list's ``append`` and ``remove`` are atomic, and a
forked child finds nothing held.
"""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from robotrace.context import handover
from robotrace.context.facts import FIELDS, RunFacts, checked_facts
from robotrace.context.trace import current_trace

__all__ = ["Run", "RunFacts", "enter_job", "run", "run_facts"]

_Level = Literal["run", "job"]
_LEVELS: tuple[_Level, ...] = ("run", "job")  # the first wins

_process_id = str(uuid.uuid4())
"""Of the run where nobody has begun one. Made at the import, so that forked workers share it."""


@dataclass(frozen=True, eq=False)
class _Layer:
    level: _Level
    run_id: str
    facts: Mapping[str, Any]


_layers: list[_Layer] = []


class Run:
    """A run that has begun; made by :func:`run`, ended by :meth:`end` or by leaving its ``with``.

    Attributes:
        id: ``metadata.run_id`` of its episodes.
    """

    def __init__(self, layer: _Layer) -> None:
        self._layer = layer
        self.id = layer.run_id

    def end(self) -> None:
        """Undo :func:`run`: episodes that begin from now on know nothing of it. Again it changes nothing."""
        _leave(self._layer)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def __repr__(self) -> str:
        facts = self._layer.facts.items()
        said = ", ".join(f"{name}={value!r}" for name, value in facts if name not in ("metadata", "traceparent"))
        return f"<robotrace.run({said}) {self.id}>"


def run(
    *,
    policy_version: str | None = None,
    env_version: str | None = None,
    git_sha: str | None = None,
    seed: int | None = None,
    project: str | None = None,
    name: str | None = None,
    tags: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> Run:
    """Say once what holds for every episode of this process, whoever records it.

    It takes effect at once and for all threads, for the episodes that begin from then on, and until the process or the
    ``with`` ends. Worker processes that are started meanwhile know it too. An argument of a recorder goes before it,
    and it goes before what a launcher, a framework or an environment variable says. Inside another run the inner one
    wins field by field, ``metadata`` is merged and ``tags`` add up; the id stays the outer one's.

    Args:
        policy_version: What acts, up to 200 characters.
        env_version: What it acts in, up to 200 characters.
        git_sha: The code's commit, where it is not that of the repository.
        seed: The training's: that of every episode whose reset is given none.
        project: What the run belongs to: ``metadata.run.project``.
        name: The run's, ``metadata.run.name``; episodes without a name of their own are called after it.
        tags: Added to ``metadata.tags``.
        metadata: Merged into each episode's, as it is now. ``ROBOTRACE_RUN_CONTEXT`` carries it to worker processes,
            without what looks like a secret by its name.

    Returns:
        The run, for ``with`` or for :meth:`Run.end`; it may be dropped.

    Raises:
        ConfigurationError: A value does not fit; the message names the argument, and nothing has changed.

    Example:
        >>> with robotrace.run(policy_version="ppo-v3", seed=7, tags=["night"]):     # doctest: +SKIP
        ...     train()
    """
    given = {
        "policy_version": policy_version,
        "env_version": env_version,
        "git_sha": git_sha,
        "seed": seed,
        "project": project,
        "name": name,
        "tags": tags,
        "metadata": metadata,
    }
    return Run(_enter("run", given))


def enter_job(**facts: Any) -> Callable[[], None]:
    """What a launcher knows of the job that begins in this process; the user's :func:`run` goes before it.

    Args:
        **facts: The arguments of :func:`run`. A job that is not inside a run has an id of its own.

    Returns:
        Ends it; again it changes nothing.

    Raises:
        TypeError: An argument is unknown.
        ConfigurationError: A value does not fit; nothing has changed.
    """
    for unknown in facts.keys() - set(FIELDS):
        near = difflib.get_close_matches(unknown, FIELDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(FIELDS)}"
        raise TypeError(f"unknown argument {unknown!r}; {hint}")
    layer = _enter("job", facts)
    return lambda: _leave(layer)


def run_facts() -> RunFacts:
    """What was said of the episodes that begin now, by all levels together."""
    layers = tuple(_layers)
    inherited = handover.inherited()
    said = [found for level in _LEVELS for found in (*_own(layers, level), inherited.get(level)) if found]
    merged: dict[str, Any] = {}
    tags: list[str] = []
    metadata: dict[str, Any] = {}
    for facts in reversed(said):
        merged.update(facts)
        tags += facts.get("tags", ())
        metadata.update(facts.get("metadata", {}))
    merged.update(tags=tuple(dict.fromkeys(tags)), metadata=metadata)
    run_id = layers[0].run_id if layers else handover.inherited_id() or _process_id
    return RunFacts(run_id, active=bool(layers or inherited), **merged)


def _own(layers: Sequence[_Layer], level: _Level) -> list[Mapping[str, Any]]:
    return [layer.facts for layer in reversed(layers) if layer.level == level]


def _enter(level: _Level, given: Mapping[str, Any]) -> _Layer:
    facts = checked_facts(given)
    trace = current_trace()
    if trace is not None:
        facts["traceparent"] = trace["traceparent"]
    outer = tuple(_layers)
    # A worker that is told the id of its run, and runs the line that began it once more, is in the same run.
    run_id = outer[0].run_id if outer else handover.inherited_id() or str(uuid.uuid4())
    layer = _Layer(level, run_id, facts)
    _layers.append(layer)
    _hand_over()
    return layer


def _leave(layer: _Layer) -> None:
    if layer in _layers:
        _layers.remove(layer)
        _hand_over()


def _hand_over() -> None:
    layers = tuple(_layers)
    if not layers:
        handover.withdraw()
        return
    inherited = handover.inherited()
    levels: dict[str, dict[str, Any]] = {}
    for level in _LEVELS:
        merged: dict[str, Any] = {}
        for facts in (inherited.get(level, {}), *reversed(_own(layers, level))):
            tags = dict.fromkeys((*merged.get("tags", ()), *facts.get("tags", ())))
            metadata = {**merged.get("metadata", {}), **facts.get("metadata", {})}
            merged = {**merged, **facts, "tags": list(tags), "metadata": metadata}
        if said := {name: value for name, value in merged.items() if value not in ([], {})}:
            levels[level] = said
    handover.publish(layers[0].run_id, levels)
