"""Why episodes failed, and what people say of that."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "analyses",
        sa.Column("episode_id", sa.String(36), nullable=False),
        sa.Column("analyzer_version", sa.String(20), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("skipped", sa.JSON(), nullable=False),
        sa.Column("basis", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("episode_id", name="pk_analyses"),
        sa.ForeignKeyConstraint(
            ["episode_id"], ["episodes.id"], name="fk_analyses_episode_id_episodes", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "finding_labels",
        sa.Column("episode_id", sa.String(36), nullable=False),
        sa.Column("code", sa.String(60), nullable=False),
        sa.Column("label", sa.String(20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("episode_id", "code", name="pk_finding_labels"),
        sa.ForeignKeyConstraint(
            ["episode_id"], ["episodes.id"], name="fk_finding_labels_episode_id_episodes", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    op.drop_table("finding_labels")
    op.drop_table("analyses")
