"""How the worklist's database is opened, written to and brought up to date."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event as sa_event
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite

from node.errors import BadConfiguration, Outage, Permanent

BUSY_TIMEOUT_MS = 2_400
"""How long a writer waits for another process's lock. Chosen: a peer must have its answer within
10 s, though it may wait for those before it too; transactions take milliseconds."""
SERVER_TIMEOUT_S = 4
"""How long anyone waits for a connection with PostgreSQL; chosen likewise."""
TURN_TIMEOUT_MS = 2_400
"""How long a thread that writes to SQLite waits for the others of its process; chosen likewise."""


class Clash(Permanent):
    """A unique key, CHECK or foreign key refused a row."""


class Database:
    """One open worklist database, SQLite or PostgreSQL; threads share it.

    `read` and `write` are transactions, and translate the driver's errors: what may pass (a lost
    connection, a full disk, a lock held too long) is an Outage, the rest Permanent.
    """

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url, hide_parameters=True, **_options(url))
        self._turn: AbstractContextManager[object] = nullcontext()
        if self.engine.dialect.name == "sqlite":
            # SQLite has one writer. A thread that waits for this lock goes on once it is free;
            # one that waits in SQLite's busy handler sleeps in steps.
            self._turn = _Turn()
            sa_event.listen(self.engine, "connect", _prepare_sqlite)
            sa_event.listen(self.engine, "begin", _begin_sqlite)
        self._writer = self.engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Yield a connection whose statements see one state of the database."""
        with _translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Yield a connection; what it wrote is committed and on disk when the block is left."""
        with _translated(), self._turn, self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


class _Turn:
    """A lock of the threads that write; whoever waits too long for it gives up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=TURN_TIMEOUT_MS / 1000):
            raise Outage("the worklist database: another thread writes for too long")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def insert(db: sa.Connection, table: sa.Table) -> Any:
    """Return an INSERT of the database's dialect, which has ON CONFLICT."""
    kind = postgresql.insert if db.dialect.name == "postgresql" else sqlite.insert
    return kind(table)


def upgrade(url: str, to: str = "head", *, idle_s: float = 60.0) -> None:
    """Bring the database to a schema, by default the newest; create it if it does not exist.

    All of the upgrade is committed, or nothing is.

    Parameters
    ----------
    idle_s
        `assemble.idle_s` in force: cases closed before schema 0005 did not note when.
    """
    file = sa.make_url(url).database
    if file and sa.make_url(url).get_backend_name() == "sqlite":
        Path(file).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(url)
    try:
        with database.write() as connection:
            config = _alembic()
            config.attributes.update(connection=connection, idle_s=idle_s)
            command.upgrade(config, to)
    finally:
        database.close()


def require_head(database: Database) -> None:
    """Refuse a database that `upgrade` has not brought to the newest schema.

    Raises
    ------
    BadConfiguration
        If its schema is older or newer than this program's, or it has none.
    """
    head = _head()
    current = None
    if not _is_missing_file(database.engine.url):
        with database.read() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
    if current != head:
        raise BadConfiguration(
            f"the worklist database has schema {current or 'none'}, this program needs {head}: "
            "run `ichnode db upgrade`"
        )


def is_known(revision: str | None) -> bool:
    """Return whether this program's migrations know a schema, so that it can be upgraded."""
    script = ScriptDirectory.from_config(_alembic())
    return revision in {one.revision for one in script.walk_revisions()}


@cache
def _head() -> str | None:
    """Return the newest schema that this program's migrations know, read once."""
    return ScriptDirectory.from_config(_alembic()).get_current_head()


def _is_missing_file(url: sa.URL) -> bool:
    """Return whether opening the database would create it, empty."""
    return url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _options(url: str) -> dict[str, Any]:
    """Return the engine's options: as many connections as there are threads."""
    if sa.make_url(url).get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_TIMEOUT_MS / 1000}, "max_overflow": -1}
    connect = {
        "connect_timeout": SERVER_TIMEOUT_S,
        "tcp_user_timeout": 2000 * SERVER_TIMEOUT_S,
        "options": f"-c lock_timeout={BUSY_TIMEOUT_MS}",
    }
    named = sa.make_url(url).query
    return {
        "pool_pre_ping": True,
        "max_overflow": 20,
        "pool_timeout": SERVER_TIMEOUT_S,
        "connect_args": {name: value for name, value in connect.items() if name not in named},
    }


def _prepare_sqlite(connection: Any, record: object) -> None:
    """Make a commit durable and let SQLAlchemy say BEGIN (its documented pysqlite recipe)."""
    del record
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    """Take the write lock before a writer's first read; SQLite may refuse it after that read."""
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
        raise Outage(f"the worklist database: {_cause(error)}") from error
    except exc.IntegrityError as error:
        raise Clash(f"the worklist database refuses: {_cause(error)}") from error
    except exc.DBAPIError as error:
        raise Permanent(f"the worklist database refuses: {_cause(error)}") from error


def _cause(error: exc.SQLAlchemyError) -> str:
    return str(getattr(error, "orig", error)).splitlines()[0]
