"""Run the migrations on the connection that `schema.database.upgrade` opened."""

from alembic import context

from node.worklist.schema.archive_tables import archived_study
from node.worklist.schema.bundle_tables import bundle_release
from node.worklist.schema.people_tables import account
from node.worklist.schema.running_tables import job
from node.worklist.schema.tables import metadata
from node.worklist.schema.watch_tables import performed_study

for table in (archived_study, account, bundle_release, job, performed_study):
    assert table.metadata is metadata  # which has the tables of each module

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
