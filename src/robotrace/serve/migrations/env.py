"""Run by alembic; :meth:`robotrace.serve.database.Database.migrate` hands over the connection."""

from alembic import context

from robotrace.serve.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite alters a table by copying it.
    render_as_batch=True,
    # All of it or nothing, on SQLite too: Database begins transactions itself, which makes that work.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
