"""Projects: what there is belongs to one; when keys were last used; the audit log."""

from datetime import datetime, timezone

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None

_DEFAULT = 1
_OF_A_PROJECT = ("api_keys", "episodes", "eval_runs", "scenarios")
# Table and columns behind project_id; those of before had the columns alone.
_INDEXES = (
    ("episodes", ("created_at", "id")),
    ("episodes", ("policy_version", "created_at", "id")),
    ("episodes", ("seed", "created_at", "id")),
    ("eval_runs", ("created_at", "id")),
)


def upgrade() -> None:
    projects = op.create_table(
        "projects",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("slug", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
        sa.UniqueConstraint("slug", name="uq_projects_slug"),
    )
    now = datetime.now(timezone.utc)
    if op.get_context().dialect.name == "sqlite":  # which keeps no zone
        now = now.replace(tzinfo=None)
    row = {"id": _DEFAULT, "slug": "default", "name": "Default", "created_at": now}
    op.bulk_insert(projects, [row])
    if op.get_context().dialect.name == "postgresql":  # whose sequence knows nothing of the row
        op.execute("SELECT setval(pg_get_serial_sequence('projects', 'id'), 1)")
    for table in _OF_A_PROJECT:
        op.add_column(table, sa.Column("project_id", sa.Integer(), nullable=True))
        op.execute(f"UPDATE {table} SET project_id = {_DEFAULT}")
    for table, columns in _INDEXES:
        op.drop_index(f"ix_{table}_{'_'.join(columns)}", table)
    for table in _OF_A_PROJECT:
        with op.batch_alter_table(table) as batch:
            batch.alter_column("project_id", existing_type=sa.Integer(), nullable=False)
            batch.create_foreign_key(f"fk_{table}_project_id_projects", "projects", ["project_id"], ["id"])
            if table == "episodes":
                batch.drop_constraint("uq_episodes_idempotency_key", type_="unique")
                batch.create_unique_constraint(
                    "uq_episodes_project_id_idempotency_key", ["project_id", "idempotency_key"]
                )
    for table, columns in (*_INDEXES, ("scenarios", ("created_at", "id"))):
        op.create_index(f"ix_{table}_project_id_{'_'.join(columns)}", table, ["project_id", *columns])
    op.add_column("api_keys", sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("target", sa.String(200), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_entries"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_audit_entries_project_id_projects"),
    )
    op.create_index("ix_audit_entries_project_id_created_at_id", "audit_entries", ["project_id", "created_at", "id"])
    op.create_index("ix_audit_entries_created_at", "audit_entries", ["created_at"])
    with op.batch_alter_table("device_sessions") as batch:
        batch.add_column(sa.Column("project_id", sa.Integer(), nullable=True))
        batch.create_foreign_key("fk_device_sessions_project_id_projects", "projects", ["project_id"], ["id"])


def downgrade() -> None:
    op.drop_table("audit_entries")
    with op.batch_alter_table("api_keys") as batch:
        batch.drop_column("last_used_at")
    with op.batch_alter_table("device_sessions") as batch:
        batch.drop_constraint("fk_device_sessions_project_id_projects", type_="foreignkey")
        batch.drop_column("project_id")
    for table, columns in (*_INDEXES, ("scenarios", ("created_at", "id"))):
        op.drop_index(f"ix_{table}_project_id_{'_'.join(columns)}", table)
    for table in _OF_A_PROJECT:
        with op.batch_alter_table(table) as batch:
            if table == "episodes":
                batch.drop_constraint("uq_episodes_project_id_idempotency_key", type_="unique")
                batch.create_unique_constraint("uq_episodes_idempotency_key", ["idempotency_key"])
            batch.drop_constraint(f"fk_{table}_project_id_projects", type_="foreignkey")
            batch.drop_column("project_id")
    for table, columns in _INDEXES:
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))
    op.drop_table("projects")
