"""A node whose DICOMweb is served on loopback, and what it holds."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session

from node.arrive.intake import Intake
from node.audit import Trail
from node.settings import Receive, Settings, Web
from node.web import dicomweb_service, serve_page
from node.worklist import Worklist
from tests.support.databases import new_database
from tests.support.peers import free_port

READ, WRITE = "r" * 24, "w" * 24
"""Secrets of two tokens: one may read, the other may read and write."""


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class ServedArchive:
    """A node that serves DICOMweb, without other roles."""

    settings: Settings
    worklist: Worklist
    url: str

    def take(self, files: Sequence[Path]) -> Intake:
        """File objects as they would arrive."""
        intake = Intake(self.settings, self.worklist.arrivals, now)
        for path in files:
            intake.take(path.name, path.read_bytes(), caller="CT1")
        intake.release()
        return intake

    def client(self, secret: str = WRITE) -> DICOMwebClient:
        session = create_session()
        if secret:
            session.headers["Authorization"] = f"Bearer {secret}"
        return DICOMwebClient(self.url, session)

    def http(self, secret: str = "", **headers: str) -> httpx.Client:
        shown = {"Authorization": f"Bearer {secret}"} if secret else {}
        return httpx.Client(base_url=self.url, headers={**shown, **headers}, timeout=60)


def tokens(folder: Path) -> list[dict[str, Any]]:
    """Write the secrets of two tokens; return the tokens' settings."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "read").write_text(f"{READ}\n")
    (folder / "write").write_text(WRITE)
    both = ["read", "write"]
    return [
        {"name": "viewer", "secret_file": str(folder / "read"), "may": ["read"]},
        {"name": "scanner", "secret_file": str(folder / "write"), "may": both},
    ]


@contextmanager
def serving_archive(folder: Path, *, web: Any = None, **sections: Any) -> Iterator[ServedArchive]:
    """Serve DICOMweb of a new node on loopback while the block runs."""
    port = free_port()
    chosen = {"tokens": tokens(folder / "secrets")} if web is None else web
    settings = Settings(
        data_dir=folder / "node",
        web=Web(port=port, **chosen),
        **{"receive": Receive(min_free_mb=0), **sections},
    )
    new_database(settings.url)
    with Worklist(settings.url) as worklist, serving_web(settings, worklist) as url:
        yield ServedArchive(settings, worklist, url)


@contextmanager
def serving_web(settings: Settings, worklist: Worklist) -> Iterator[str]:
    """Serve the page and DICOMweb while the block runs; yield the base URL of DICOMweb."""
    with Trail(worklist.audit, now) as trail:
        yield from _served(settings, worklist, trail)


def _served(settings: Settings, worklist: Worklist, trail: Trail) -> Iterator[str]:
    stop = threading.Event()
    archive = dicomweb_service(settings, worklist.archive, worklist.arrivals, now, trail)
    server = threading.Thread(target=serve_page, args=(settings, worklist, now, stop, [archive]))
    server.start()
    try:
        root = f"http://127.0.0.1:{settings.web.port}"
        with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:
            client.get(f"{root}/healthz")
        yield f"{root}/dicom-web"
    finally:
        stop.set()
        server.join(timeout=20)
        assert not server.is_alive()


def raw_request(port: int, path: str, *, host: str = "127.0.0.1") -> bytes:
    """Send a GET whose path no client library has normalised; return the whole answer."""
    said = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(said.encode("latin-1"))
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    return answer
