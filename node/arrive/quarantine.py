"""Quarantine as an administrator works with it: look at what was set aside, release or discard it.

What is released is read from disk again, and must still be the bytes that were received.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from node.dicom.read.header import read_header
from node.errors import BadObject, IchnodeError, Permanent
from node.records import Header, StoredObject
from node.worklist import Decision, NotFound, Quarantine, Quarantined, Signature, Standing

SETTLED_AFTER = timedelta(minutes=1)
"""Chosen: bytes written more recently may belong to an object that is only now being filed, so
they are not deleted. Filing one takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of one object."""

    entry: Quarantined
    """As it stood before."""
    stays: str | None = None
    """Why it was not released; None if it was."""
    note: str = ""
    """What else the administrator must know."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What an object says of itself, and what it contradicts."""

    entry: Quarantined
    header: Header | None
    standing: Standing | None
    unreadable: str | None
    """Why its bytes cannot be read; then there is neither header nor standing."""


def chosen(quarantine: Quarantine, number: int | None, study_uid: str | None) -> list[Quarantined]:
    """Return the entry of a number, or the open ones of a study.

    Raises
    ------
    Permanent
        If not just one of them is given.
    NotFound
        If there is no such entry.
    """
    if (number is None) == (study_uid is None):
        raise Permanent("name either one object by its NUMBER or a study's by --study UID")
    if number is not None:
        return [quarantine.get(number)]
    if found := quarantine.listed(study_uid):
        return found
    raise NotFound(f"nothing of study {study_uid} waits in quarantine")


def examine(entry: Quarantined, quarantine: Quarantine, root: Path) -> Examined:
    """Return what the bytes of an entry say, and where the worklist contradicts them."""
    try:
        header = _header(entry.stored, root)
    except IchnodeError as error:
        return Examined(entry, None, None, str(error))
    return Examined(entry, header, quarantine.standing(header), None)


def release(
    entries: Sequence[Quarantined], quarantine: Quarantine, root: Path, signed: Signature
) -> list[Decided]:
    """File objects by a person's will; see `node.worklist.Quarantine.release`.

    An object whose bytes are gone, altered or still no DICOM stays where it is, as does one that
    cannot be filed.

    Raises
    ------
    IllegalMove
        If one of them was released or deleted before; nothing was filed.
    """
    headers, stay = {}, {}
    for entry in entries:
        try:
            headers[entry.number] = _header(entry.stored, root)
        except IchnodeError as error:
            stay[entry.number] = str(error)
    stay |= quarantine.release(headers, signed)
    return [Decided(entry, stay.get(entry.number)) for entry in entries]


def discard(
    entries: Iterable[Quarantined],
    quarantine: Quarantine,
    root: Path,
    signed: Signature,
    *,
    delete: bool = False,
) -> list[Decided]:
    """Decide that objects are not filed; remove their bytes only if told to.

    Bytes that another row speaks of, or that came within `SETTLED_AFTER`, stay.

    Raises
    ------
    IllegalMove
        If one of them was released or deleted before.
    """
    return [_discard(entry, quarantine, root, signed, delete) for entry in entries]


def _discard(
    entry: Quarantined, quarantine: Quarantine, root: Path, signed: Signature, delete: bool
) -> Decided:
    path = root / entry.stored.path
    young = delete and path.exists() and _age(path, signed) < SETTLED_AFTER
    decision = quarantine.discard(entry.number, signed, delete=delete and not young)
    if decision is Decision.DELETED:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            return Decided(entry, note=f"{path} could not be deleted: {error.strerror}")
        return Decided(entry, note="its bytes are deleted")
    if young:
        return Decided(entry, note=f"its bytes came just now and stay at {path}: delete them later")
    if delete:
        return Decided(entry, note=f"its bytes are needed elsewhere and stay at {path}")
    return Decided(entry, note=f"its bytes stay at {path}")


def _age(path: Path, signed: Signature) -> timedelta:
    return timedelta(seconds=signed.at.timestamp() - path.stat().st_mtime)


def _header(stored: StoredObject, root: Path) -> Header:
    """Return what the bytes say, if they are still those received.

    Raises
    ------
    BadObject
        If they are gone, altered, or no DICOM object that can be filed.
    """
    path = root / stored.path
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != stored.sha256:
                raise BadObject(f"{path} is not what was received: its SHA-256 differs")
        return read_header(path)
    except OSError as error:
        raise BadObject(f"{path} cannot be read: {error.strerror}") from error
