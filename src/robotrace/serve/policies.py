"""What the episodes of each policy version come to: counts and returns, and what two versions did on the same seeds.

An outcome that nobody recorded is none: such episodes are counted, and are in no rate. Open-loop replays
(``source="replay"``) are left out unless they are asked for, since no policy was in the loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.orm import Session

from robotrace.serve.episodes import EpisodeFilter, filter_conditions
from robotrace.serve.models import Episode
from robotrace.serve.proportions import Pairs

__all__ = ["PairedEpisode", "PolicySums", "SeedPair", "count_pairs", "seed_pairs", "sums_by_policy", "unnamed_episodes"]

# A square of a larger one is beyond float64, for which PostgreSQL fails the whole query.
_LARGEST_RETURN = 1e150
_MAX_EPISODES = 20_000  # of a version, the newest, that are looked at for pairs


@dataclass
class PolicySums:
    """What the episodes of one policy version come to.

    Attributes:
        policy_version: The version.
        successes: Episodes that succeeded.
        failures: Those that did not.
        unknown: Those whose outcome was not recorded, the next two among them.
        unknown_failed: Of these, what ended as failed.
        recording: Of these, what has not ended.
        returns: How many episodes have a return.
        return_sum: Of these.
        return_squares: The squares of their distances from the mean, added up.
        env_versions: What they ran in, as far as it was recorded.
        git_shas: What code ran, likewise; the newest first.
        first_seen: When the first of them began.
        last_seen: And the last.
    """

    policy_version: str
    first_seen: datetime
    last_seen: datetime
    successes: int = 0
    failures: int = 0
    unknown: int = 0
    unknown_failed: int = 0
    recording: int = 0
    returns: int = 0
    return_sum: float = 0.0
    return_squares: float = 0.0
    env_versions: list[str] = field(default_factory=list)
    git_shas: list[str] = field(default_factory=list)

    @property
    def episodes(self) -> int:
        """How many there are."""
        return self.successes + self.failures + self.unknown

    @property
    def known(self) -> int:
        """How many of them have an outcome: what a rate is of."""
        return self.successes + self.failures

    @property
    def mean_return(self) -> float | None:
        """None where no episode has a return."""
        return self.return_sum / self.returns if self.returns else None

    @property
    def return_sd(self) -> float | None:
        """The sample's standard deviation; None of fewer than two."""
        return math.sqrt(self.return_squares / (self.returns - 1)) if self.returns > 1 else None


def _conditions(project_id: int, filters: EpisodeFilter) -> Iterator[ColumnElement[bool]]:
    yield Episode.project_id == project_id
    if filters.source is None:
        yield Episode.source != "replay"
    yield from filter_conditions(filters)


def sums_by_policy(session: Session, project_id: int, filters: EpisodeFilter) -> dict[str, PolicySums]:
    """The sums of each policy version that has episodes, in no order.

    Args:
        session: A session.
        project_id: The project.
        filters: Which episodes count; with ``source`` None all but replays.
    """
    conditions = [*_conditions(project_id, filters), Episode.policy_version.is_not(None)]
    reward = case((Episode.reward_total.between(-_LARGEST_RETURN, _LARGEST_RETURN), Episode.reward_total))
    unknown = Episode.success.is_(None)
    query = (
        select(
            Episode.policy_version,
            Episode.git_sha,
            Episode.env_version,
            func.count(case((Episode.success.is_(True), 1))),
            func.count(case((Episode.success.is_(False), 1))),
            func.count(case((unknown, 1))),
            func.count(case((and_(unknown, Episode.status == "failed"), 1))),
            func.count(case((and_(unknown, Episode.status == "recording"), 1))),
            func.count(reward),
            func.coalesce(func.sum(reward), 0.0),
            func.min(Episode.created_at),
            func.max(Episode.created_at),
        )
        .where(*conditions)
        .group_by(Episode.policy_version, Episode.git_sha, Episode.env_version)
    )
    found: dict[str, PolicySums] = {}
    # The newest first: the shas are listed in that order.
    for version, sha, env, *numbers, first, last in sorted(session.execute(query), key=lambda row: row[-1])[::-1]:
        sums = found.setdefault(version, PolicySums(version, first, last))
        _add(sums, sha, env, numbers)
        sums.first_seen, sums.last_seen = min(sums.first_seen, first), max(sums.last_seen, last)
    for version, squares in _squares(session, conditions, reward):
        found[version].return_squares = squares
    return found


def _add(sums: PolicySums, sha: str | None, env: str | None, numbers: list[float]) -> None:
    successes, failures, unknown, unknown_failed, recording, returns = (int(number) for number in numbers[:6])
    sums.successes += successes
    sums.failures += failures
    sums.unknown += unknown
    sums.unknown_failed += unknown_failed
    sums.recording += recording
    sums.returns += returns
    sums.return_sum += numbers[6]
    if sha and sha not in sums.git_shas:
        sums.git_shas.append(sha)
    if env and env not in sums.env_versions:
        sums.env_versions.append(env)


def _squares(
    session: Session, conditions: list[ColumnElement[bool]], reward: ColumnElement[float | None]
) -> Iterator[tuple[str, float]]:
    # In a second pass around the mean: from sums of squares, nothing is left of a small spread around a large mean.
    means = (
        select(Episode.policy_version.label("version"), func.avg(reward).label("mean"))
        .where(*conditions)
        .group_by(Episode.policy_version)
        .subquery()
    )
    query = (
        select(Episode.policy_version, func.sum((reward - means.c.mean) * (reward - means.c.mean)))
        .join(means, means.c.version == Episode.policy_version)
        .where(*conditions)
        .group_by(Episode.policy_version)
    )
    for version, squares in session.execute(query):
        if version is not None and squares is not None:
            yield version, squares


def unnamed_episodes(session: Session, project_id: int, filters: EpisodeFilter) -> int:
    """How many episodes name no policy version."""
    conditions = [*_conditions(project_id, filters), Episode.policy_version.is_(None)]
    return session.scalar(select(func.count()).select_from(Episode).where(*conditions)) or 0


@dataclass(frozen=True)
class PairedEpisode:
    """An episode of a pair."""

    id: str
    success: bool
    reward_total: float | None
    failure_time_s: float | None


@dataclass(frozen=True)
class SeedPair:
    """What two versions did on the same seed, in the same environment, on the same robot; the newest of each."""

    seed: int
    env_version: str | None
    robot: str | None
    first: PairedEpisode
    second: PairedEpisode


def seed_pairs(session: Session, project_id: int, first: str, second: str, filters: EpisodeFilter) -> list[SeedPair]:
    """The seeds that both versions ran and of which both outcomes are known, by environment, robot and seed.

    Args:
        session: A session.
        project_id: The project.
        first: A policy version.
        second: Another.
        filters: Which episodes count; ``policy_version`` of it does not.
    """
    one, two = (_by_case(session, project_id, version, filters) for version in (first, second))
    common = sorted(one.keys() & two.keys(), key=lambda key: (key[0] or "", key[1] or "", key[2]))
    return [SeedPair(seed, env, robot, one[env, robot, seed], two[env, robot, seed]) for env, robot, seed in common]


def _by_case(
    session: Session, project_id: int, version: str, filters: EpisodeFilter
) -> dict[tuple[str | None, str | None, int], PairedEpisode]:
    query = (
        select(
            Episode.env_version,
            Episode.robot,
            Episode.seed,
            Episode.id,
            Episode.success,
            Episode.reward_total,
            Episode.failure_time_s,
        )
        .where(
            *_conditions(project_id, filters),
            Episode.policy_version == version,
            Episode.seed.is_not(None),
            Episode.success.is_not(None),
        )
        .order_by(Episode.created_at.desc(), Episode.id.desc())
        .limit(_MAX_EPISODES)
    )
    found: dict[tuple[str | None, str | None, int], PairedEpisode] = {}
    for env, robot, seed, episode_id, success, reward, failure_time_s in session.execute(query):
        if seed is not None and success is not None:  # the query says so
            found.setdefault((env, robot, seed), PairedEpisode(episode_id, success, reward, failure_time_s))
    return found


def count_pairs(pairs: list[SeedPair]) -> Pairs:
    """The four cells of the paired table."""
    cells = [(pair.first.success, pair.second.success) for pair in pairs]
    return Pairs(
        both=cells.count((True, True)),
        only_first=cells.count((True, False)),
        only_second=cells.count((False, True)),
        neither=cells.count((False, False)),
    )
