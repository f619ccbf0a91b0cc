from collections.abc import Iterator

import pytest

from tests.support.object_store import ObjectStore, moto_server, object_store


@pytest.fixture(scope="session")
def server() -> Iterator[int]:
    with moto_server() as port:
        yield port


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "node")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture
def store(server: int) -> Iterator[ObjectStore]:
    with object_store(server) as found:
        yield found
