"""Keys, episodes, artifacts and video indexes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public", sa.String(10), nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("internal", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("public", name="uq_api_keys_public"),
    )
    op.create_table(
        "episodes",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("idempotency_key", sa.String(200), nullable=True),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("name", sa.String(200), nullable=True),
        sa.Column("robot", sa.String(120), nullable=True),
        sa.Column("policy_version", sa.String(200), nullable=True),
        sa.Column("env_version", sa.String(200), nullable=True),
        sa.Column("git_sha", sa.String(64), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("fps", sa.Float(), nullable=True),
        sa.Column("duration_s", sa.Float(), nullable=True),
        sa.Column("failure_time_s", sa.Float(), nullable=True),
        sa.Column("bytes_total", sa.BigInteger(), nullable=True),
        sa.Column("success", sa.Boolean(), nullable=True),
        sa.Column("reward_total", sa.Float(), nullable=True),
        sa.Column("steps", sa.BigInteger(), nullable=True),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("otel", sa.JSON(), nullable=True),
        sa.Column("requested_uploads", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_episodes"),
        sa.UniqueConstraint("idempotency_key", name="uq_episodes_idempotency_key"),
    )
    op.create_index("ix_episodes_created_at_id", "episodes", ["created_at", "id"])
    op.create_index("ix_episodes_policy_version_created_at_id", "episodes", ["policy_version", "created_at", "id"])
    op.create_index("ix_episodes_seed_created_at_id", "episodes", ["seed", "created_at", "id"])
    op.create_table(
        "artifacts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("episode_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("object_key", sa.String(200), nullable=False),
        sa.Column("file_name", sa.String(100), nullable=False),
        sa.Column("content_type", sa.String(100), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_artifacts"),
        sa.ForeignKeyConstraint(
            ["episode_id"], ["episodes.id"], name="fk_artifacts_episode_id_episodes", ondelete="CASCADE"
        ),
    )
    op.create_index("uq_artifacts_episode_id_kind", "artifacts", ["episode_id", "kind"], unique=True)
    op.create_table(
        "video_indexes",
        sa.Column("episode_id", sa.String(36), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("frame_count", sa.Integer(), nullable=False),
        sa.Column("end_ms", sa.Float(), nullable=False),
        sa.Column("times_ms", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("episode_id", name="pk_video_indexes"),
        sa.ForeignKeyConstraint(
            ["episode_id"], ["episodes.id"], name="fk_video_indexes_episode_id_episodes", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    op.drop_table("video_indexes")
    op.drop_table("artifacts")
    op.drop_table("episodes")
    op.drop_table("api_keys")
