"""Roles are killed on a node of each kind of database."""

from collections.abc import Iterator

import pytest


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.sqlite),
        pytest.param("postgresql", marks=pytest.mark.peer),
    ]
)
def database_url(request: pytest.FixtureRequest) -> str:
    """The address of a new database, "" for SQLite's file in the data folder."""
    if request.param == "sqlite":
        return ""
    databases: Iterator[str] = request.getfixturevalue("new_databases")
    return next(databases)
