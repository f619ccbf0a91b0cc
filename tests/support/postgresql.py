"""A PostgreSQL cluster of the tests' own, on a Unix socket, gone when they end."""

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from node.worklist import upgrade
from tests.conftest import require

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/nowhere"))
AS_POSTGRES = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []


class Cluster:
    """A cluster in a folder; it can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._data = folder, ["-D", f"{folder}/data"]
        self.url = f"postgresql+psycopg://postgres@/postgres?host={folder}"
        _run("initdb", *self._data, "--username=postgres", "--auth=trust", "--no-sync")

    def start(self) -> None:
        """Start the server; return once it answers."""
        folder = self._folder
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        _run("pg_ctl", *self._data, "-w", "-l", f"{folder}/log", "-o", options, "start")

    def stop(self) -> None:
        """End the server at once, as a crash does."""
        _run("pg_ctl", *self._data, "-m", "immediate", "stop")


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Run a cluster while the block runs; it must run when the block ends."""
    require((BIN / "initdb").exists(), "PostgreSQL (the Debian package postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="ichnode-pg-"))
    if AS_POSTGRES:
        shutil.chown(folder, "postgres")  # the server refuses to run as root
    try:
        found = Cluster(folder)
        found.start()
        try:
            yield found
        finally:
            found.stop()
    finally:
        shutil.rmtree(folder)


@contextmanager
def cluster() -> Iterator[str]:
    """Run a cluster; yield the URL of its database."""
    with running_cluster() as found:
        yield found.url


def copies(url: str) -> Iterator[str]:
    """Yield addresses of new databases of the newest schema, copied from the one at `url`."""
    upgrade(url)
    for number in itertools.count():
        name = f"test_{number}"
        _tell_server(url, f"CREATE DATABASE {name} TEMPLATE postgres")
        yield sa.make_url(url).set(database=name).render_as_string(hide_password=False)


def remove(url: str) -> None:
    """Remove a database; the server refuses if a session there does not end within 5 s."""
    _tell_server(url, f"DROP DATABASE {sa.make_url(url).database}")


def _tell_server(url: str, statement: str) -> None:
    """Execute what is about databases, which no session of these may do."""
    engine = sa.create_engine(
        sa.make_url(url).set(database="template1"),
        isolation_level="AUTOCOMMIT",
        poolclass=sa.NullPool,
    )
    with engine.connect() as connection:
        connection.execute(sa.text(statement))


def _run(program: str, *arguments: str) -> None:
    command = [*AS_POSTGRES, str(BIN / program), *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")
