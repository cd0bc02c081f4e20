"""The tables of a deployment."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

__all__ = [
    "DEFAULT_PROJECT_ID",
    "ApiKey",
    "Artifact",
    "AuditEntry",
    "Base",
    "DeletedEpisode",
    "DeviceSession",
    "DoomedObject",
    "Episode",
    "EpisodeAnalysis",
    "EvalResult",
    "EvalRun",
    "Fact",
    "FindingLabel",
    "Project",
    "Reproduction",
    "SavedView",
    "Scenario",
    "ScenarioResult",
    "UtcDateTime",
    "VideoIndex",
    "utc_now",
]

DEFAULT_PROJECT_ID = 1
"""Of the project "default": the one of what was there before there were projects, and the only one of most."""


def utc_now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(timezone.utc)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite keeps no zone, so it is taken off on the way in and put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time, turn the others into UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        value = value.astimezone(timezone.utc)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Say that it is UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)


def _where(condition: str) -> dict[str, Any]:
    """What makes an index a partial one."""
    return {f"{dialect}_where": text(condition) for dialect in ("postgresql", "sqlite")}


class Base(DeclarativeBase):
    """The base of all tables; constraints have names, since a later migration must be able to drop them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Project(Base):
    """A tenant: keys, episodes, eval runs and scenarios are of one, and nothing of it can be seen from another."""

    __tablename__ = "projects"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    slug: Mapped[str] = mapped_column(String(40), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # None: as much, as many, as long as there is room.
    quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    quota_episodes: Mapped[int | None] = mapped_column(BigInteger)
    retain_ready_days: Mapped[int | None] = mapped_column(Integer)
    retain_failed_days: Mapped[int | None] = mapped_column(Integer)
    retain_archived_days: Mapped[int | None] = mapped_column(Integer)


class ApiKey(Base):
    """A key that may ingest into a project and read it; the text itself is not stored."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    public: Mapped[str] = mapped_column(String(10), unique=True)
    secret_sha256: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(200))
    internal: Mapped[bool] = mapped_column(Boolean)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # To the minute; None: never.
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Episode(Base):
    """One episode.

    ``success``, ``reward_total``, ``steps`` and ``failure_reason`` repeat what is in the metadata: lists show them, and
    metadata can be large.
    """

    __tablename__ = "episodes"
    __table_args__ = (
        # Lists go newest first by keyset; the filters people page through get the same order behind them.
        Index(None, "project_id", "created_at", "id"),
        Index(None, "project_id", "policy_version", "created_at", "id"),
        Index(None, "project_id", "seed", "created_at", "id"),
        Index(None, "project_id", "status", "created_at", "id"),
        # Few at a time, and looked for once a minute.
        Index("ix_episodes_recording", "created_at", **_where("status = 'recording'")),
        # All that the sums by policy need, in the order in which they are made: see robotrace.serve.policies.
        Index(
            "ix_episodes_policies",
            *("project_id", "policy_version", "git_sha", "env_version", "robot"),
            *("source", "status", "success", "reward_total", "created_at"),
        ),
        UniqueConstraint("project_id", "idempotency_key"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20))
    source: Mapped[str] = mapped_column(String(20))
    name: Mapped[str | None] = mapped_column(String(200))
    robot: Mapped[str | None] = mapped_column(String(120))
    policy_version: Mapped[str | None] = mapped_column(String(200))
    env_version: Mapped[str | None] = mapped_column(String(200))
    git_sha: Mapped[str | None] = mapped_column(String(64))
    seed: Mapped[int | None] = mapped_column(BigInteger)
    fps: Mapped[float | None] = mapped_column(Float)
    duration_s: Mapped[float | None] = mapped_column(Float)
    failure_time_s: Mapped[float | None] = mapped_column(Float)
    bytes_total: Mapped[int | None] = mapped_column(BigInteger)
    success: Mapped[bool | None] = mapped_column(Boolean)
    reward_total: Mapped[float | None] = mapped_column(Float)
    steps: Mapped[int | None] = mapped_column(BigInteger)
    failure_reason: Mapped[str | None] = mapped_column(Text)
    # ``metadata`` is taken on a declarative class.
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", JSON)
    otel: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    requested_uploads: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    archived_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # The status that restoring it gives back.
    archived_from: Mapped[str | None] = mapped_column(String(20))
    # Failed because nothing came for a long time; a finalize that comes after all still counts.
    reaped_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    artifacts: Mapped[list[Artifact]] = relationship(
        back_populates="episode", cascade="all, delete-orphan", order_by="Artifact.id"
    )

    @property
    def is_open(self) -> bool:
        """Whether its files and its end may still come."""
        return self.status == "recording" or (self.status == "failed" and self.reaped_at is not None)


class Artifact(Base):
    """A file that has arrived in a slot of an episode."""

    __tablename__ = "artifacts"
    __table_args__ = (
        Index("uq_artifacts_episode_id_kind", "episode_id", "kind", unique=True),
        Index(None, "object_key"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    episode_id: Mapped[str] = mapped_column(ForeignKey("episodes.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(64))
    object_key: Mapped[str] = mapped_column(String(200))
    file_name: Mapped[str] = mapped_column(String(100))
    content_type: Mapped[str] = mapped_column(String(100))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    stored_at: Mapped[datetime] = mapped_column(UtcDateTime)

    episode: Mapped[Episode] = relationship(back_populates="artifacts")


class DoomedObject(Base):
    """An object whose episode was deleted; the row is written with the deletion, the object goes soon after.

    A signed URL may still bring it back, so it is deleted once more when no such URL is left; then the row goes.
    """

    __tablename__ = "doomed_objects"

    object_key: Mapped[str] = mapped_column(String(200), primary_key=True)
    since: Mapped[datetime] = mapped_column(UtcDateTime)
    swept_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class DeletedEpisode(Base):
    """What remains of a deleted episode: the key of its create; a client's late repeat does not bring it back."""

    __tablename__ = "deleted_episodes"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(String(200), primary_key=True)
    episode_id: Mapped[str] = mapped_column(String(36))
    deleted_at: Mapped[datetime] = mapped_column(UtcDateTime)


class VideoIndex(Base):
    """When each frame of a camera is shown; made once from the file with this sha256.

    A camera is a track of a file: ``video.mp4`` has one for each camera of a recorder, a ``video.<camera>`` has one.
    ``name`` is the track's own, empty where it has none.
    """

    __tablename__ = "video_indexes"

    episode_id: Mapped[str] = mapped_column(ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(64), primary_key=True)
    track: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(100))
    sha256: Mapped[str] = mapped_column(String(64))
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    frame_count: Mapped[int] = mapped_column(Integer)
    end_ms: Mapped[float] = mapped_column(Float)
    # frame_count + 1 little-endian float64: the presentation time of each frame in ms, then the end of the last.
    times_ms: Mapped[bytes] = mapped_column(LargeBinary)


class SavedView(Base):
    """Filters of the list of episodes that a project keeps under a name; ``query`` is that of the list's address."""

    __tablename__ = "saved_views"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str] = mapped_column(String(60))
    query: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Reproduction(Base):
    """What running an episode again came to when that was done last.

    ``verdict`` and ``reason`` repeat what is in the report, which is a ``robotrace.reroll.jobs.Verdict`` as a dict.
    """

    __tablename__ = "reproductions"

    episode_id: Mapped[str] = mapped_column(ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True)
    verdict: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str | None] = mapped_column(Text)
    report: Mapped[dict[str, Any]] = mapped_column(JSON)
    checked_at: Mapped[datetime] = mapped_column(UtcDateTime)


class EpisodeAnalysis(Base):
    """Why an episode failed, as the rules of a version say.

    ``findings`` and ``skipped`` are of ``robotrace.explain.Analysis.to_dict()``; ``basis`` changes with what they were
    made from.
    """

    __tablename__ = "analyses"

    episode_id: Mapped[str] = mapped_column(ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True)
    analyzer_version: Mapped[str] = mapped_column(String(20))
    findings: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    skipped: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    basis: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class FindingLabel(Base):
    """What somebody who knows said of a finding, ``right`` or ``wrong``; it stays when the rules are asked anew."""

    __tablename__ = "finding_labels"

    episode_id: Mapped[str] = mapped_column(ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True)
    code: Mapped[str] = mapped_column(String(60), primary_key=True)
    label: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class EvalRun(Base):
    """A candidate policy replayed over a list of baseline episodes."""

    __tablename__ = "eval_runs"
    __table_args__ = (Index(None, "project_id", "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    status: Mapped[str] = mapped_column(String(20))
    candidate_policy_version: Mapped[str] = mapped_column(String(200))
    baseline_policy_version: Mapped[str | None] = mapped_column(String(200))
    name: Mapped[str | None] = mapped_column(String(200))
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", JSON)
    # None until the run is finalized.
    summary: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class EvalResult(Base):
    """What became of one baseline of a run; there from the start, "pending" until a client says more.

    The baseline is no foreign key: a run may name episodes that do not exist, which is then what its result says.
    """

    __tablename__ = "eval_results"
    __table_args__ = (Index("uq_eval_results_run_baseline", "eval_run_id", "baseline_episode_id", unique=True),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    eval_run_id: Mapped[str] = mapped_column(ForeignKey("eval_runs.id", ondelete="CASCADE"))
    # Where the client listed it.
    position: Mapped[int] = mapped_column(Integer)
    baseline_episode_id: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20))
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON)
    candidate_episode_id: Mapped[str | None] = mapped_column(ForeignKey("episodes.id", ondelete="SET NULL"))
    error: Mapped[str | None] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Scenario(Base):
    """An episode that every candidate policy is checked against."""

    __tablename__ = "scenarios"
    __table_args__ = (Index(None, "project_id", "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    baseline_episode_id: Mapped[str] = mapped_column(ForeignKey("episodes.id", ondelete="CASCADE"), unique=True)
    severity: Mapped[str] = mapped_column(String(20))
    name: Mapped[str | None] = mapped_column(String(200))
    description: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ScenarioResult(Base):
    """How a candidate policy did on a scenario; of several the one with the highest ``sequence`` counts."""

    __tablename__ = "scenario_results"
    __table_args__ = (
        Index("ix_scenario_results_candidate", "candidate_policy_version", "scenario_id", "sequence"),
        Index("uq_scenario_results_scenario_run", "scenario_id", "eval_run_id", unique=True),
    )

    # Not the time: a clock can be set back, and two results can be of the same microsecond.
    sequence: Mapped[int] = mapped_column(Integer, primary_key=True)
    id: Mapped[str] = mapped_column(String(36), unique=True)
    scenario_id: Mapped[str] = mapped_column(ForeignKey("scenarios.id", ondelete="CASCADE"))
    candidate_policy_version: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20))
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON)
    candidate_episode_id: Mapped[str | None] = mapped_column(ForeignKey("episodes.id", ondelete="SET NULL"))
    eval_run_id: Mapped[str | None] = mapped_column(ForeignKey("eval_runs.id", ondelete="CASCADE"))
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AuditEntry(Base):
    """A change that somebody made; see :func:`robotrace.serve.audit.audit`."""

    __tablename__ = "audit_entries"
    __table_args__ = (Index(None, "project_id", "created_at", "id"), Index(None, "created_at"))

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    who: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(40))
    target: Mapped[str] = mapped_column(String(200))
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class DeviceSession(Base):
    """A ``robotrace login`` that waits for somebody to approve it in a browser; deleted once it has expired.

    Neither the device code (the secret of the program that waits) nor the key it will get is stored.
    """

    __tablename__ = "device_sessions"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    # None until somebody has approved it: the project of theirs.
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id"))
    device_code_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    user_code: Mapped[str] = mapped_column(String(9), unique=True)
    status: Mapped[str] = mapped_column(String(20))
    hostname: Mapped[str | None] = mapped_column(String(200))
    user_agent: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Fact(Base):
    """What a deployment, or all replicas of one, remember about themselves."""

    __tablename__ = "facts"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    value: Mapped[str] = mapped_column(String(200))
