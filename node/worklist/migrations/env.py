"""Run the migrations on the connection that `node.worklist.database.upgrade` opened."""

from alembic import context

from node.worklist.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
