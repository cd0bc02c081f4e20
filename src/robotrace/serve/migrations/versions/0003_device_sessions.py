"""Logins that wait for approval."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "device_sessions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device_code_sha256", sa.String(64), nullable=False),
        sa.Column("user_code", sa.String(9), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("hostname", sa.String(200), nullable=True),
        sa.Column("user_agent", sa.String(200), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_device_sessions"),
        sa.UniqueConstraint("device_code_sha256", name="uq_device_sessions_device_code_sha256"),
        sa.UniqueConstraint("user_code", name="uq_device_sessions_user_code"),
    )


def downgrade() -> None:
    op.drop_table("device_sessions")
