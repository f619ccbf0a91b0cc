"""A worklist of each kind of database: a real SQLite file and a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.worklist import Worklist, upgrade
from node.worklist.schema.tables import metadata
from tests.support.databases import new_database
from tests.support.postgresql import cluster


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    with cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with the schema and no rows."""
    if database == "sqlite":
        new = f"sqlite:///{tmp_path}/ichnode.sqlite"
        new_database(new)
        return new
    server: str = request.getfixturevalue("postgresql")
    upgrade(server)
    tables = ", ".join(f'"{table}"' for table in metadata.tables)
    execute(server, f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
    return server


@pytest.fixture
def empty_url(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if database == "sqlite":
        return f"sqlite:///{tmp_path}/worklist/ichnode.sqlite"
    server: str = request.getfixturevalue("postgresql")
    execute(server, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return server


def execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


@pytest.fixture
def worklist(url: str) -> Iterator[Worklist]:
    with Worklist(url) as opened:
        yield opened
