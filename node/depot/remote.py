"""Storage in an object store; the data folder holds copies, which may go at any time.

    received/ quarantine/ adt/   an object of the same path each, named by its SHA-256
    cases/ID/contents.json       the names of a case's files and the SHA-256 of each
    cases/ID/SHA256              their bytes
    cases/ID/messages/           what was said of its study, a file for each

A case's folder changes as a whole, when its contents are put. What is brought is checked by its
SHA-256. Below `copies` in the data folder lie the copies, `cases` there being those in which stages
work, and `seen` what readers look at, so that no reader sees a stage at work.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from node.depot.bucket import Bucket
from node.depot.copies import Copies
from node.depot.folder import Depot
from node.disk import sha256_of
from node.errors import Outage
from node.log import event

logger = logging.getLogger(__name__)

COPIES, SEEN, CASES, MESSAGES = "copies", "seen", "cases", "messages"
PARTIAL = ".partial"
CONTENTS = "contents.json"
SIDE_BY_SIDE = 8
"""Files that are brought at once; chosen, to hide the way to the store and back."""
RACES = 5
"""How often a case's contents are read anew that change while they are brought."""

_DIGEST = re.compile("[0-9a-f]{64}")

Contents = dict[str, str]
"""The SHA-256 of each file of a case's folder, by its name there."""


class RemoteDepot(Depot):
    """The files of the node in a bucket.

    Parameters
    ----------
    data_dir
        The data folder of this machine.
    cache_bytes
        How much the copies may take; see `node.depot.copies`.
    """

    def __init__(self, data_dir: Path, bucket: Bucket, cache_bytes: int) -> None:
        super().__init__(data_dir / COPIES)
        self._bucket = bucket
        self._seen = self.root / SEEN
        for folder in (self.root, self._seen):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        once = tuple(self.root / area for area in ("received", "quarantine", "adt", "cache"))
        self._copies = Copies((*once, self._seen / CASES), cache_bytes)
        self._turn = threading.Lock()

    def require_reachable(self) -> None:
        """Return if an object can be put in the bucket."""
        self._bucket.require_reachable()

    # --- received bytes, and whatever else is written once ----------------------------------------

    def bring(self, path: str) -> Path:
        """Return where a copy of a file lies; it is brought if there is none yet."""
        if path.startswith(f"{CASES}/"):
            return self._bring_of_case(path)
        file = self.root / path
        if not self._copies.used(file):
            self._fetch(path, file, _named(path))
        return file

    def bring_all(self, paths: Iterable[str]) -> None:
        """Bring many files, some of them side by side."""
        missing = [path for path in dict.fromkeys(paths) if not self._copies.used(self.root / path)]
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            list(pool.map(self.bring, missing))

    def keep(self, path: str, source: Path | None = None) -> None:
        """Return when the bucket has a file."""
        file = source or self.root / path
        self._bucket.put(path, file)
        self._copies.added(file)

    def drop(self, path: str) -> None:
        """Remove a file from the bucket, and its copy here."""
        self._bucket.delete([path])
        super().drop(path)

    def holds(self, path: str) -> bool:
        """Return whether the bucket has a file."""
        return self._bucket.kept(path) is not None

    def size(self, path: str) -> int:
        """Return the size of a file in the bucket, in bytes."""
        if path.startswith(f"{CASES}/"):
            return self._bring_of_case(path).stat().st_size
        kept = self._bucket.kept(path)
        if kept is None:
            raise FileNotFoundError(f"{path} is not in the object store")
        return kept.size

    def written_at(self, path: str) -> datetime | None:
        """Return when a file was put in the bucket last; None if it is not there."""
        kept = self._bucket.kept(path)
        return None if kept is None else kept.put_at

    # --- the folders of cases ---------------------------------------------------------------------

    def take_up(self, folder: str) -> None:
        """Make the folder in which a stage works what was kept last, if anything was."""
        for contents in self._contents(folder):
            if contents is None or self._mirrored(folder, self.root / folder, contents):
                return

    def keep_folder(self, folder: str) -> None:
        """Put what changed of a case's folder in the bucket, then its new contents."""
        key = f"{folder}/{CONTENTS}"
        self._bucket.mark()
        before = set(_read(self._bucket.read(key) or b"{}").values())
        contents = {name: sha256_of(self.root / folder / name) for name in self._names(folder)}
        for name, sha256 in contents.items():
            if sha256 not in before:
                self._bucket.put(f"{folder}/{sha256}", self.root / folder / name)
        self._bucket.put(key, json.dumps(contents, sort_keys=True).encode())
        self._bucket.delete(f"{folder}/{old}" for old in before - set(contents.values()))

    def leave(self, folder: str) -> None:
        """Remove the folder in which a stage worked."""
        shutil.rmtree(self.root / folder, ignore_errors=True)

    def seen(self, folder: str) -> Path:
        """Return below which root the copy of a case's folder lies that readers look at."""
        place = self._seen / folder
        for contents in self._contents(folder):
            if contents is None:
                shutil.rmtree(place, ignore_errors=True)
                break
            if _content(place / CONTENTS) == contents and self._all_used(place, contents):
                break
            with self._turn:
                if self._mirrored(folder, place, contents):
                    _write(place / CONTENTS, contents)
                    break
        return self._seen

    def drop_folder(self, folder: str) -> None:
        """Remove a case's folder from the bucket, and its copies here."""
        self._bucket.delete(self._bucket.keys(f"{folder}/"))
        super().drop_folder(folder)
        shutil.rmtree(self._seen / folder, ignore_errors=True)

    def _contents(self, folder: str) -> Iterator[bytes | None]:
        """Yield a case's contents, None if it has none, and again whenever they have changed."""
        last: bytes | None = b""
        for _ in range(RACES):
            contents = self._bucket.read(f"{folder}/{CONTENTS}")
            if contents == last:  # a file is damaged, or lost
                return
            yield contents
            last = contents

    def _all_used(self, place: Path, contents: bytes) -> bool:
        return all(self._copies.used(place / name) for name in (CONTENTS, *_read(contents)))

    def _bring_of_case(self, path: str) -> Path:
        folder, name = _split(path)
        if name.startswith(f"{MESSAGES}/"):
            if not (self._seen / path).exists():
                self._fetch(path, self._seen / path, None)
            return self._seen / path
        return self.seen(folder) / path

    def _names(self, folder: str) -> list[str]:
        """Return the names of a case's files that change together."""
        root = self.root / folder
        found = (file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file())
        return sorted(name for name in found if name != CONTENTS and not _apart(name))

    def _mirrored(self, folder: str, place: Path, contents: bytes) -> bool:
        """Make a copy of a case's folder hold these contents; return whether it does."""
        wanted = _read(contents)
        whole = True
        for name, sha256 in wanted.items():
            file = place / name
            if not file.is_file() or sha256_of(file) != sha256:
                whole &= self._fetch(f"{folder}/{sha256}", file, sha256)
        for file in list(place.rglob("*")):
            name = file.relative_to(place).as_posix()
            if file.is_file() and name not in wanted and not _apart(name):
                file.unlink(missing_ok=True)
        return whole

    # --- one object -------------------------------------------------------------------------------

    def _fetch(self, key: str, file: Path, sha256: str | None) -> bool:
        """Leave an object's bytes in a file; return whether they are there and are the right ones.

        Parameters
        ----------
        sha256
            The digest that they must have; None if the reader checks it.
        """
        chunks = self._bucket.chunks(key)
        if chunks is None:
            file.unlink(missing_ok=True)
            return False
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = _partial(file)
        try:
            found = _save(partial, chunks)
            if sha256 is not None and found != sha256:
                file.unlink(missing_ok=True)
                say = event("damaged_in_store", key=key, sha256=found)
                logger.error("an object is damaged in the object store", extra=say)
                return False
            self._copies.added(partial)
            partial.rename(file)
        finally:
            partial.unlink(missing_ok=True)
        return True


def _partial(file: Path) -> Path:
    """Return where a file is written before it is renamed."""
    return file.with_name(f".{uuid4().hex}{PARTIAL}")


def _apart(name: str) -> bool:
    """Return whether a file of a case's folder does not change with the others.

    Messages come one by one. A partial file is another process's, or what a killed one left; with
    other copies it goes when it is old.
    """
    return name.startswith(f"{MESSAGES}/") or name.endswith(PARTIAL)


def _save(file: Path, chunks: Iterable[bytes]) -> str:
    """Write a copy; return its SHA-256. It need not outlive a power cut."""
    digest = hashlib.sha256()
    try:
        with file.open("xb") as out:
            for chunk in chunks:
                out.write(chunk)
                digest.update(chunk)
    except OSError as error:
        raise Outage(f"cannot write to {file.parent}: {error.strerror}") from error
    return digest.hexdigest()


def _write(file: Path, content: bytes) -> None:
    partial = _partial(file)
    partial.write_bytes(content)
    os.replace(partial, file)  # noqa: PTH105


def _content(file: Path) -> bytes | None:
    with suppress(OSError):
        return file.read_bytes()
    return None


def _read(contents: bytes) -> Contents:
    """Return a case's contents; names that lead out of its folder are an Outage of the store."""
    found: Contents = json.loads(contents)
    for name, sha256 in found.items():
        inside = not name.startswith("/") and ".." not in name.split("/")
        if not inside or _DIGEST.fullmatch(sha256) is None:
            raise Outage("the object store holds contents of a case that the node did not write")
    return found


def _named(path: str) -> str | None:
    """Return the SHA-256 that a file is named by, None if it is named otherwise."""
    stem = Path(path).stem
    return stem if _DIGEST.fullmatch(stem) else None


def _split(path: str) -> tuple[str, str]:
    """Return the case's folder of a path, and the name below it."""
    first, number, name = path.split("/", 2)
    return f"{first}/{number}", name
