"""Run the migrations on the connection that `node.worklist.database.upgrade` opened."""

from alembic import context

from node.worklist import archive_tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=archive_tables.archived_study.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
