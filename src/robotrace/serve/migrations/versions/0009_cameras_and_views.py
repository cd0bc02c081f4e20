"""Frame times by camera, and views of the list that are kept.

The frame times are a copy of what is in the files: the table is made anew, and filled again as episodes are opened.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_PICTURE = (
    ("sha256", sa.String(64)),
    ("width", sa.Integer()),
    ("height", sa.Integer()),
    ("frame_count", sa.Integer()),
    ("end_ms", sa.Float()),
    ("times_ms", sa.LargeBinary()),
)


def _create_indexes(further: "list[sa.Column[object]]", key: list[str]) -> None:
    op.create_table(
        "video_indexes",
        sa.Column("episode_id", sa.String(36), nullable=False),
        *further,
        *(sa.Column(name, kind, nullable=False) for name, kind in _PICTURE),
        sa.PrimaryKeyConstraint(*key, name="pk_video_indexes"),
        sa.ForeignKeyConstraint(
            ["episode_id"], ["episodes.id"], name="fk_video_indexes_episode_id_episodes", ondelete="CASCADE"
        ),
    )


def upgrade() -> None:
    op.drop_table("video_indexes")
    camera: list[sa.Column[object]] = [
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("track", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
    ]
    _create_indexes(camera, ["episode_id", "kind", "track"])
    op.create_table(
        "saved_views",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_saved_views"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_saved_views_project_id_projects"),
        sa.UniqueConstraint("project_id", "name", name="uq_saved_views_project_id_name"),
    )


def downgrade() -> None:
    op.drop_table("saved_views")
    op.drop_table("video_indexes")
    _create_indexes([], ["episode_id"])
