"""Quarantine as an administrator works with it: look at what was set aside, release or discard it.

A released object is read from disk again; its bytes must still be those that were received.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from node.arrive.spool import StoredBytes
from node.depot import Depot
from node.dicom.read.header import OpenObject, open_object
from node.errors import BadObject, IchnodeError, Outage, Permanent
from node.records import Header, StoredObject
from node.worklist import Decision, NotFound, Quarantine, Quarantined, Signature, Standing, Worklist

SETTLED_AFTER = timedelta(minutes=1)
"""Bytes written more recently are not deleted: they may belong to an object that is just being
filed. It must exceed the time that filing one takes, which is milliseconds."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of one object."""

    entry: Quarantined
    """As it stood before the decision."""
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


def chosen(worklist: Worklist, numbers: Sequence[int], study: str | None) -> list[Quarantined]:
    """Return the entries of these numbers, or the open ones of a study.

    Parameters
    ----------
    study
        The StudyInstanceUID that objects name, or a study as in `node.worklist.Views.find`.

    Raises
    ------
    Permanent
        If not just one of both is given.
    NotFound
        If there is no such entry.
    """
    if numbers and study is None:
        return [worklist.quarantine.get(number) for number in numbers]
    if study is None or numbers:
        raise Permanent("name either objects by their NUMBERS or a study's by --study UID")
    if found := worklist.quarantine.listed(study):
        return found
    try:
        found = worklist.quarantine.listed(worklist.views.find(study))
    except NotFound as unknown:
        raise NotFound(f"nothing of study {study} waits in quarantine: {unknown}") from unknown
    if not found:
        raise NotFound(f"nothing of study {study} waits in quarantine")
    return found


def examine(entry: Quarantined, quarantine: Quarantine, depot: Depot) -> Examined:
    """Return what the bytes of an entry say, and what they contradict in the worklist."""
    try:
        header = _opened(entry.stored, depot).header
    except IchnodeError as error:
        return Examined(entry, None, None, str(error))
    return Examined(entry, header, quarantine.standing(header), None)


def release(
    entries: Sequence[Quarantined], quarantine: Quarantine, depot: Depot, signed: Signature
) -> list[Decided]:
    """File objects because a person says so; see `node.worklist.Quarantine.release`.

    An object stays in quarantine if its bytes are gone, altered, cut short or no DICOM object, or
    if it cannot be filed.

    Raises
    ------
    IllegalMove
        If one of them was released or deleted before; nothing was filed.
    """
    headers, stay = {}, {}
    for entry in entries:
        try:
            opened = _opened(entry.stored, depot)
            if opened.cut_short:
                raise BadObject(f"{opened.cut_short}; send the whole object")
            headers[entry.number] = opened.header
        except IchnodeError as error:
            stay[entry.number] = str(error)
    stay |= quarantine.release(headers, signed)
    return [Decided(entry, stay.get(entry.number)) for entry in entries]


def discard(
    entries: Iterable[Quarantined],
    quarantine: Quarantine,
    depot: Depot,
    signed: Signature,
    *,
    delete: bool = False,
) -> list[Decided]:
    """Decide that objects are not filed, and delete their bytes if `delete` says so.

    Bytes stay if another row speaks of them, or if they came within `SETTLED_AFTER`.

    Raises
    ------
    IllegalMove
        If one of them was released or deleted before.
    """
    return [_discard(entry, quarantine, depot, signed, delete) for entry in entries]


def _discard(
    entry: Quarantined, quarantine: Quarantine, depot: Depot, signed: Signature, delete: bool
) -> Decided:
    stored_bytes = StoredBytes(depot)
    path = depot.root / entry.stored.path
    age = stored_bytes.age(entry.stored.path, signed.at)
    young = delete and age is not None and age < SETTLED_AFTER
    decision = quarantine.discard(entry.number, signed, delete=delete and not young)
    if decision is Decision.DELETED:
        try:
            stored_bytes.delete(entry.stored.path)
        except (OSError, Outage) as error:
            why = error.strerror if isinstance(error, OSError) else error
            return Decided(entry, note=f"{path} could not be deleted: {why}")
        return Decided(entry, note="its bytes are deleted")
    if young:
        return Decided(entry, note=f"its bytes came just now and stay at {path}: delete them later")
    if delete:
        return Decided(entry, note=f"its bytes are needed elsewhere and stay at {path}")
    return Decided(entry, note=f"its bytes stay at {path}")


def delete_settled(stored_bytes: StoredBytes, path: str, now: datetime) -> bool:
    """Delete bytes unless they came within `SETTLED_AFTER`; return whether they are gone."""
    age = stored_bytes.age(path, now)
    if age is not None and age < SETTLED_AFTER:
        return False
    stored_bytes.delete(path)
    return True


def _opened(stored: StoredObject, depot: Depot) -> OpenObject:
    """Return the object without its pixels, if the bytes are still those that were received.

    Raises
    ------
    BadObject
        If they are gone, altered, or no DICOM object that can be filed.
    """
    stored_bytes = StoredBytes(depot)
    path = stored_bytes.locate(stored.path)
    try:
        if stored_bytes.altered(stored.path, stored.sha256) is not None:
            raise BadObject(f"{path} is not what was received: its SHA-256 differs")
        with path.open("rb") as file:
            return open_object(file, pixels=False)
    except OSError as error:
        raise BadObject(f"{path} cannot be read: {error.strerror}") from error
