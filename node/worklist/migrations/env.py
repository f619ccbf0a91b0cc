"""Run the migrations on the connection that `node.worklist.database.upgrade` opened."""

from alembic import context

from node.worklist import archive_tables, watch_tables

metadata = archive_tables.archived_study.metadata
assert metadata is watch_tables.performed_study.metadata  # of all tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
