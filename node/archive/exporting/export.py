"""An export for a study of several sites: images that name nobody, and what people said of them."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.faces import KEPT_MM
from node.archive.exporting.images import Writer
from node.archive.exporting.truth import settled_studies, write_truth
from node.archive.proof import Proof, disk_faults
from node.archive.reading import File, Order, Plan, Sources, filer, orders_of
from node.errors import Permanent
from node.settings import Settings

README = """\
Research use only. Not for diagnosis.

images/STUDY/*.dcm  the slices that ichnode read of each study
truth.csv           what people decided, without who they are, and what the node said

De-identified by the Basic Application Level Confidentiality Profile of DICOM PS3.15 Annex E: no
attribute of the source is copied but the place of the slices, manufacturer, model and kernel, and
these only where no name, number or place of the header stands in them. Dates are removed. UIDs and
patient numbers are pseudonyms by a secret that stays at the site. Pixel values are written anew.
{faces}
The table has ages in bands of ten years and the sex (Retain Patient Characteristics Option, for the
table alone). Header and pixels say what they say: look at a sample before it leaves.
"""
FACELESS = """\
Clean Recognizable Visual Features Option, Clean Pixel Data Option: what lies further than
{mm:.0f} mm from the inside of the skull is air, so nose, mouth, jaw, ears and whatever stands
beside the head are gone. Eyes and forehead lie closer, and partly stay. It was not tried against a
program that recognises faces.
"""
FACES = """\
FACES ARE NOT REMOVED: a face can be drawn from these images and compared with photographs. Text
that was burned into the images stays.
"""


NOT_FOUND = "the catalogue does not say where it is"

Make = Callable[[], AbstractContextManager[File]]
"""Loads networks, and gives what files a study with them; see `node.archive.reading.filer`."""


@dataclass(slots=True)
class Exported:
    """How far an export is.

    Attributes
    ----------
    before
        Studies whose images an earlier call wrote.
    without
        Studies without images; the table says why.
    """

    total: int
    before: int = 0
    done: int = 0
    without: int = 0


def write_export(
    proof: Proof,
    out: Path,
    settings: Settings,
    plan: Plan,
    *,
    faces: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    make: Make | None = None,
) -> Generator[Exported, None, None]:
    """Write the studies that people settled into a folder; yield how far it is.

    A further call goes on with the studies whose images are not there.

    Parameters
    ----------
    plan
        How a server is asked; its workers are not used.
    faces
        Whether faces stay.
    tell
        Is called with a line where there is a wait.

    Raises
    ------
    IchnodeError
        If no study is settled, a server does not answer, or the disk fails. What was written
        stays.
    """
    with disk_faults(out):
        sources = Sources(settings, plan, tell)
        yield from _export(proof, out, sources, make or partial(filer, settings), faces=faces)


def _export(
    proof: Proof, out: Path, sources: Sources, make: Make, *, faces: bool
) -> Generator[Exported, None, None]:
    known = settled_studies(proof)
    writer = Writer(out, proof.pseudonyms(), faces)
    _begin(out, faces=faces)
    missing = [
        order
        for order in orders_of(proof)
        if order.study in known and not writer.written(order.study)
    ]
    progress = Exported(len(known), before=sum(map(bool, map(writer.written, known))))
    why_not: dict[str, str] = {}
    with closing(sources):
        for name in {order.source for order in missing if not order.paths}:
            sources.require(name)
        for study, why in _write(missing, sources, writer, make):
            why_not[study] = why
            progress.done += 1
            yield progress
    rows = [
        (each, writer.written(study), why_not.get(study, NOT_FOUND))
        for study, each in known.items()
    ]
    write_truth(out / "truth.csv", rows)
    progress.without = sum(not images for _, images, _ in rows)
    yield progress


def _write(
    missing: Sequence[Order], sources: Sources, writer: Writer, make: Make
) -> Iterator[tuple[str, str]]:
    """Write the images of these studies; yield each with why it has none."""
    if not missing:
        return
    with make() as file:
        for order in missing:
            with file(sources.get(order)) as study:
                why = writer.write(study, order.patient)
            yield order.study, why


def _begin(out: Path, *, faces: bool) -> None:
    """Make the folder, and say in it what it holds.

    Raises
    ------
    Permanent
        If it holds something else, or an export with faces and shall hold one without, or the
        other way round.
    OSError
        If it cannot be made or written.
    """
    readme, unfinished = out / "README.txt", out / ".README.partial"
    text = README.format(faces=FACES if faces else FACELESS.format(mm=KEPT_MM)).encode()
    if out.exists() and not out.is_dir():
        raise Permanent(f"{out} is no folder: take another name")
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    if readme.exists():
        if readme.read_bytes() != text:
            raise Permanent(
                f"{out} holds another export: its {readme.name} says which; take a new folder"
            )
        return
    if any(file != unfinished for file in out.iterdir()):
        raise Permanent(f"{out} holds other files and no export: take a new folder")
    out.chmod(0o700)
    unfinished.write_bytes(text)
    unfinished.rename(readme)
