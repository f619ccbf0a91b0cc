"""A PostgreSQL cluster of the tests' own, on a Unix socket, gone when they end."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import require

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/nowhere"))
AS_POSTGRES = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []


@contextmanager
def cluster() -> Iterator[str]:
    """Run a cluster; yield the URL of its database."""
    require((BIN / "initdb").exists(), "PostgreSQL (the Debian package postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="ichnode-pg-"))
    if AS_POSTGRES:
        shutil.chown(folder, "postgres")  # the server refuses to run as root
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    data = ["-D", f"{folder}/data"]
    try:
        _run("initdb", *data, "--username=postgres", "--auth=trust", "--no-sync")
        _run("pg_ctl", *data, "-w", "-l", f"{folder}/log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
        finally:
            _run("pg_ctl", *data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _run(program: str, *arguments: str) -> None:
    command = [*AS_POSTGRES, str(BIN / program), *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")
