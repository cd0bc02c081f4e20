"""Archived, reaped and deleted episodes, the objects that deleted ones leave, slots of several cameras."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0004"
branch_labels = None
depends_on = None


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
        sa.Column("idempotency_key", sa.String(200), nullable=False),
        sa.Column("episode_id", sa.String(36), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("idempotency_key", name="pk_deleted_episodes"),
    )
    op.add_column("episodes", sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("episodes", sa.Column("archived_from", sa.String(20), nullable=True))
    op.add_column("episodes", sa.Column("reaped_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_episodes_status_created_at_id", "episodes", ["status", "created_at", "id"])
    with op.batch_alter_table("artifacts") as artifacts:
        artifacts.alter_column("kind", existing_type=sa.String(20), type_=sa.String(64), existing_nullable=False)
    op.create_index("ix_artifacts_object_key", "artifacts", ["object_key"])


def downgrade() -> None:
    op.drop_index("ix_artifacts_object_key", "artifacts")
    with op.batch_alter_table("artifacts") as artifacts:
        artifacts.alter_column("kind", existing_type=sa.String(64), type_=sa.String(20), existing_nullable=False)
    op.drop_index("ix_episodes_status_created_at_id", "episodes")
    with op.batch_alter_table("episodes") as episodes:
        for name in ("reaped_at", "archived_from", "archived_at"):
            episodes.drop_column(name)
    op.drop_table("deleted_episodes")
    op.drop_table("doomed_objects")
