"""An index that the sums by policy version are made from alone.

Of 100,000 episodes in SQLite they take 60 ms with it and 500 ms without: the rows themselves hold the metadata.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_COLUMNS = [
    "project_id",
    "policy_version",
    "git_sha",
    "env_version",
    "robot",
    "source",
    "status",
    "success",
    "reward_total",
    "created_at",
]


def upgrade() -> None:
    op.create_index("ix_episodes_policies", "episodes", _COLUMNS)


def downgrade() -> None:
    op.drop_index("ix_episodes_policies", table_name="episodes")
