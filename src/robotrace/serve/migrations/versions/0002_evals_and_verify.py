"""Eval runs, their results, verification scenarios, their results."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "eval_runs",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("candidate_policy_version", sa.String(200), nullable=False),
        sa.Column("baseline_policy_version", sa.String(200), nullable=True),
        sa.Column("name", sa.String(200), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_eval_runs"),
    )
    op.create_index("ix_eval_runs_created_at_id", "eval_runs", ["created_at", "id"])
    op.create_table(
        "eval_results",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("eval_run_id", sa.String(36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("baseline_episode_id", sa.String(200), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("candidate_episode_id", sa.String(36), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_eval_results"),
        sa.ForeignKeyConstraint(
            ["eval_run_id"], ["eval_runs.id"], name="fk_eval_results_eval_run_id_eval_runs", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["candidate_episode_id"],
            ["episodes.id"],
            name="fk_eval_results_candidate_episode_id_episodes",
            ondelete="SET NULL",
        ),
    )
    op.create_index("uq_eval_results_run_baseline", "eval_results", ["eval_run_id", "baseline_episode_id"], unique=True)
    op.create_table(
        "scenarios",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("baseline_episode_id", sa.String(36), nullable=False),
        sa.Column("severity", sa.String(20), nullable=False),
        sa.Column("name", sa.String(200), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_scenarios"),
        sa.UniqueConstraint("baseline_episode_id", name="uq_scenarios_baseline_episode_id"),
        sa.ForeignKeyConstraint(
            ["baseline_episode_id"],
            ["episodes.id"],
            name="fk_scenarios_baseline_episode_id_episodes",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "scenario_results",
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("scenario_id", sa.String(36), nullable=False),
        sa.Column("candidate_policy_version", sa.String(200), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("candidate_episode_id", sa.String(36), nullable=True),
        sa.Column("eval_run_id", sa.String(36), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_scenario_results"),
        sa.UniqueConstraint("id", name="uq_scenario_results_id"),
        sa.ForeignKeyConstraint(
            ["scenario_id"], ["scenarios.id"], name="fk_scenario_results_scenario_id_scenarios", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["candidate_episode_id"],
            ["episodes.id"],
            name="fk_scenario_results_candidate_episode_id_episodes",
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["eval_run_id"], ["eval_runs.id"], name="fk_scenario_results_eval_run_id_eval_runs", ondelete="CASCADE"
        ),
    )
    op.create_index(
        "ix_scenario_results_candidate",
        "scenario_results",
        ["candidate_policy_version", "scenario_id", "sequence"],
    )
    op.create_index("uq_scenario_results_scenario_run", "scenario_results", ["scenario_id", "eval_run_id"], unique=True)


def downgrade() -> None:
    op.drop_table("scenario_results")
    op.drop_table("scenarios")
    op.drop_table("eval_results")
    op.drop_table("eval_runs")
