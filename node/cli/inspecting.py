"""Checks a worklist and the files of its rows, for `ichnode db check` and `restore`."""

from collections import Counter
from collections.abc import Iterator

from node.depot import Depot
from node.worklist import FileOfRow, Worklist

NAMED = 10
"""Files that are named; the rest is counted."""


def inspected(worklist: Worklist, depot: Depot) -> tuple[bool, list[str]]:
    """Return whether something is wrong, and what was found, a line each.

    Parameters
    ----------
    root
        The data folder.
    """
    faults = [f"database: {fault}" for fault in worklist.inspection.faults()]
    faults += [f"audit trail: {fault}" for fault in worklist.audit.faults()[0]]
    counted: Counter[str] = Counter()
    missing = list(_missing(worklist, depot, counted))
    faults += missing[:NAMED]
    if len(missing) > NAMED:
        faults.append(f"and {len(missing) - NAMED} more files")
    if faults:
        return True, faults
    files = ", ".join(f"{number} {what}" for what, number in counted.items()) or "none"
    return False, [
        "the database is whole, and of this version's schema",
        "the audit trail is whole",
        f"all files of rows are there: {files}",
    ]


def _missing(worklist: Worklist, depot: Depot, counted: Counter[str]) -> Iterator[str]:
    for one in worklist.inspection.files():
        counted[one.what] += 1
        if fault := _fault(one, depot):
            yield f"{one.what}: {one.path}: {fault}"


def _fault(one: FileOfRow, depot: Depot) -> str:
    try:
        size = depot.size(one.path)
    except OSError as error:
        return error.strerror or "cannot be read"
    if one.size is not None and size != one.size:
        return f"{size} bytes, its row says {one.size}"
    return ""
