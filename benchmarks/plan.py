"""What is measured: cases, who takes part in each, and what the design asks for. Plain data; nothing is imported here.

A case names a module in ``cases`` whose ``measure(contestant, **size)`` runs in a process of its own and gives back
figures (numbers) and facts (texts). ``bare`` is the same loop without any recorder: every figure of a round is set
against the bare one of the same round in the same Python environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["BARE", "Case", "Contestant", "Environment", "Target"]

BARE = "bare"


@dataclass(frozen=True)
class Environment:
    """A Python environment; the one that runs ``run.py`` when there are no requirements.

    Args:
        name: Its folder's name.
        requirements: Groups given to ``pip install`` one after the other.
        with_ours: Whether this checkout can be imported there.
    """

    name: str
    requirements: tuple[tuple[str, ...], ...] = ()
    with_ours: bool = True


@dataclass(frozen=True)
class Contestant:
    """Who is measured.

    Args:
        name: What ``measure`` gets; :data:`BARE` in every environment.
        label: What the table says.
        environment: The environment's name.
        share: Part of the case's number of steps: for those that would take minutes otherwise.
        rounds: In how many rounds it takes part, from the first on; None: in all, and in the warm-up.
        absent: Why it cannot be run at all; it is named with this reason.
    """

    name: str
    label: str
    environment: str = "own"
    share: float = 1.0
    rounds: int | None = None
    absent: str | None = None


@dataclass(frozen=True)
class Target:
    """What capture.md asks for.

    Args:
        text: The row of the design's table.
        contestant: Whose figure.
        figure: Its name, with ``over_bare`` (difference) or ``ratio`` after a dot; or, of a fact, ``same``.
        limit: The bound; the fact's is that it equals the bare one.
        sense: Whether the figure may be at most or has to be at least this.
    """

    text: str
    contestant: str
    figure: str
    limit: float | None
    sense: Literal["at most", "at least", "same"] = "at most"


@dataclass(frozen=True)
class Case:
    """One comparison.

    Args:
        name: Given to ``--only``.
        title: What is measured, with the figure's unit.
        module: In ``cases``.
        figure: The one the table shows, with p10 and p90; ``beside``: others of which it shows the median.
        contestants: In their order; it is turned by one each round.
        size: Arguments of ``measure``; ``quick`` ones for ``--quick``.
        rounds: How often everyone is measured; ``quick_rounds`` with ``--quick``.
        scales: The size's key that a contestant's share applies to.
        fresh: Whether every measurement has a process of its own (memory, kills), without a warm-up round.
        counts: Whether instructions a step are counted too, where ``perf`` can.
    """

    name: str
    title: str
    module: str
    figure: str
    contestants: tuple[Contestant, ...]
    size: Mapping[str, Any]
    quick: Mapping[str, Any]
    rounds: int
    quick_rounds: int = 2
    targets: tuple[Target, ...] = ()
    scales: str = "steps"
    fresh: bool = False
    counts: bool = False
    timeout_s: float = 600.0
    notes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
