"""What running an episode again came to."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reproductions",
        sa.Column("episode_id", sa.String(36), nullable=False),
        sa.Column("verdict", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("episode_id", name="pk_reproductions"),
        sa.ForeignKeyConstraint(
            ["episode_id"], ["episodes.id"], name="fk_reproductions_episode_id_episodes", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    op.drop_table("reproductions")
