"""Finds the images that end their decoder, by decoding ever smaller parts of a series."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from models.volume import Volume
from node.dicom.read.damage import Crashed, Fault
from node.errors import Refused
from node.records import SeriesPlan, SliceRef
from node.states import Reason

MAX_CRASHES = 8
"""How often the search may end the decoder, which then starts again, a second each time. So many
find one image among 256; chosen."""


def crashing(
    plan: SeriesPlan, decode: Callable[[SeriesPlan], Volume], most: int = MAX_CRASHES
) -> tuple[Fault, ...]:
    """Return the images that end the decoder; none if they cannot be found.

    They cannot if no image does so alone, if the series is a single file, or if it would take more
    than `most` crashes.
    """
    files = _by_file((*plan.slices, *plan.copies))
    parts = _halves(files)
    found: list[Fault] = []
    crashes = 0
    while parts:
        part = parts.pop()
        crash = _crash(plan, part, decode)
        if crash is None:
            continue
        crashes += 1
        if crashes > most:
            return ()
        if len(part) == 1:
            found += [_fault(ref, crash) for ref in part[0]]
        else:
            parts += _halves(part)
    return tuple(found)


Files = Sequence[Sequence[SliceRef]]


def _by_file(refs: Sequence[SliceRef]) -> Files:
    files: dict[str, list[SliceRef]] = {}
    for ref in refs:
        files.setdefault(ref.path, []).append(ref)
    return list(files.values())


def _halves(files: Files) -> list[Files]:
    """Return the two halves of several files, the lower one last; nothing of a single file."""
    middle = len(files) // 2
    return [files[middle:], files[:middle]] if middle else []


def _crash(plan: SeriesPlan, part: Files, decode: Callable[[SeriesPlan], Volume]) -> Crashed | None:
    """Return how these files end the decoder; None if they do not, whatever else is wrong."""
    refs = tuple(ref for file in part for ref in file)
    try:
        decode(replace(plan, slices=refs, copies=()))
    except Crashed as crash:
        return crash
    except Refused:
        pass  # whatever else is wrong is told once all that is left is decoded
    return None


def _fault(ref: SliceRef, crash: Crashed) -> Fault:
    return Fault(ref, Reason.UNDECODABLE, f"image {ref.sop_instance_uid}: {crash}")
