"""Archived, reaped and deleted episodes and what they leave, limits of a project, slots of several cameras."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_LIMITS = (
    ("quota_bytes", sa.BigInteger()),
    ("quota_episodes", sa.BigInteger()),
    ("retain_ready_days", sa.Integer()),
    ("retain_failed_days", sa.Integer()),
    ("retain_archived_days", sa.Integer()),
)
_RECORDING = sa.text("status = 'recording'")


def upgrade() -> None:
    op.create_table(
        "doomed_objects",
        sa.Column("object_key", sa.String(200), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("swept_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("object_key", name="pk_doomed_objects"),
    )
    op.create_table(
        "deleted_episodes",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("idempotency_key", sa.String(200), nullable=False),
        sa.Column("episode_id", sa.String(36), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "idempotency_key", name="pk_deleted_episodes"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_deleted_episodes_project_id_projects"),
    )
    for name, kind in _LIMITS:
        op.add_column("projects", sa.Column(name, kind, nullable=True))
    op.add_column("episodes", sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("episodes", sa.Column("archived_from", sa.String(20), nullable=True))
    op.add_column("episodes", sa.Column("reaped_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_episodes_project_id_status_created_at_id", "episodes", ["project_id", "status", "created_at", "id"]
    )
    op.create_index(
        "ix_episodes_recording", "episodes", ["created_at"], sqlite_where=_RECORDING, postgresql_where=_RECORDING
    )
    with op.batch_alter_table("artifacts") as artifacts:
        artifacts.alter_column("kind", existing_type=sa.String(20), type_=sa.String(64), existing_nullable=False)
    op.create_index("ix_artifacts_object_key", "artifacts", ["object_key"])


def downgrade() -> None:
    op.drop_index("ix_artifacts_object_key", "artifacts")
    with op.batch_alter_table("artifacts") as artifacts:
        artifacts.alter_column("kind", existing_type=sa.String(64), type_=sa.String(20), existing_nullable=False)
    op.drop_index("ix_episodes_recording", "episodes")
    op.drop_index("ix_episodes_project_id_status_created_at_id", "episodes")
    with op.batch_alter_table("episodes") as episodes:
        for name in ("reaped_at", "archived_from", "archived_at"):
            episodes.drop_column(name)
    with op.batch_alter_table("projects") as projects:
        for name, _ in reversed(_LIMITS):
            projects.drop_column(name)
    op.drop_table("deleted_episodes")
    op.drop_table("doomed_objects")
