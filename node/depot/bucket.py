"""Objects in a bucket of an S3-compatible store. Credentials come by the environment (AWS_*)."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from node.errors import BadConfiguration, Outage
from node.settings import Storage

CONNECT_S = 5.0
"""Longest time until there is a connection; chosen."""
CHUNK_BYTES = 1 << 20
MARK = "ichnode"
"""Key of the object that tells a bucket which the node has used from an empty one."""
PROBE = "probe"
CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""The variables of which one says where credentials are. Without any the library would ask a
service of the network's (169.254.169.254), which a node does not do."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the store says of an object: its size in bytes, and when it was put last."""

    size: int
    put_at: datetime


class Bucket:
    """The objects below a prefix of a bucket; threads share it.

    Every method raises an Outage if the store does not do what it is asked now. An object is
    missing only if the bucket is the one that this node uses: its mark is there.
    """

    def __init__(self, storage: Storage) -> None:
        try:
            import obstore
            from obstore.store import S3Store
        except ImportError as error:
            needed = 'storage.url needs the extra "s3": pip install "ichnode[s3]"'
            raise BadConfiguration(needed) from error
        if not any(os.environ.get(name) for name in CREDENTIALS):
            raise BadConfiguration(f"storage.url needs {CREDENTIALS[0]} in the environment")
        self._do: Any = obstore
        self._none = (FileNotFoundError, obstore.exceptions.NotFoundError)
        self._marked = False
        with self._said():
            self._store = S3Store.from_url(storage.url, **_options(storage))

    def require_reachable(self) -> None:
        """Return if an object can be put."""
        self._put(PROBE, b"")

    def put(self, key: str, content: bytes | Path) -> None:
        """Return when the store has an object; it takes the place of an older one."""
        self.mark()
        self._put(key, content)

    def mark(self) -> None:
        """Have the bucket known as one that this node uses."""
        if not self._marked:
            self._put(MARK, b"")
            self._marked = True

    def chunks(self, key: str) -> Iterator[bytes] | None:
        """Return an object's bytes in pieces; None if there is no such object."""
        with self._said():
            try:
                found = self._do.get(self._store, key)
            except self._none:
                found = None
        if found is None:
            self._require_mark()
            return None
        return self._streamed(found)

    def read(self, key: str) -> bytes | None:
        """Return a small object's bytes; None if there is no such object."""
        found = self.chunks(key)
        return None if found is None else b"".join(found)

    def kept(self, key: str) -> Kept | None:
        """Return what the store says of an object; None if there is no such object."""
        with self._said():
            try:
                found = self._do.head(self._store, key)
            except self._none:
                found = None
        if found is None:
            self._require_mark()
            return None
        return Kept(found["size"], found["last_modified"])

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of all objects in a folder."""
        with self._said():
            listed = self._do.list(self._store, prefix)
            return [one["path"] for some in listed for one in some]

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there count as removed."""
        with self._said():
            for key in keys:
                try:
                    self._do.delete(self._store, key)
                except self._none:
                    self._require_mark()

    def _put(self, key: str, content: bytes | Path) -> None:
        if isinstance(content, Path):
            content.stat()  # a file that is gone here is no fault of the store
        with self._said():
            try:
                self._do.put(self._store, key, content)
            except self._none as error:
                raise Outage("the object store has no such bucket") from error

    def _streamed(self, found: Any) -> Iterator[bytes]:
        with self._said():
            for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    def _require_mark(self) -> None:
        """Raise an Outage if the bucket is not the one that this node uses."""
        try:
            self._do.head(self._store, MARK)
        except self._none:
            raise Outage("the object store has nothing of ichnode: is it the right one?") from None

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Say what the store does not do now, without what it tells of requests."""
        try:
            yield
        except self._do.exceptions.BaseError as error:
            raise Outage(f"the object store does not do it: {_first_line(error)}") from error


def _options(storage: Storage) -> dict[str, Any]:
    client: dict[str, Any] = {
        "allow_http": storage.endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=min(CONNECT_S, storage.timeout_s)),
        "timeout": timedelta(seconds=storage.timeout_s),
    }
    if storage.ca:
        client["root_certificate"] = _certificate(storage.ca)
    again = {"max_retries": 1, "retry_timeout": timedelta(seconds=storage.timeout_s)}
    given = {"region": storage.region, "client_options": client, "retry_config": again}
    return {**given, "endpoint": storage.endpoint} if storage.endpoint else given


def _certificate(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise BadConfiguration(f"storage.ca: {path}: {error.strerror}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
