"""An export for a study of several sites: images that name nobody, and what people said of them."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.faces import KEPT_MM
from node.archive.exporting.images import Writer
from node.archive.exporting.truth import settled_studies, write_truth
from node.archive.proof import Proof
from node.archive.reading import Also, Order, Plan, Read, Sources, orders_of, reader
from node.cases.pipeline import Node
from node.disk import make_private
from node.errors import Permanent
from node.settings import Settings
from node.worklist import Row

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

Make = Callable[[Also], AbstractContextManager[Read]]
"""Loads networks, and gives what reads a study with them; see `node.archive.reading.reader`."""


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
    with closing(Sources(settings, plan, tell)) as sources:
        for name in {order.source for order in missing if not order.paths}:
            sources.require(name)
        for study, why in _write(missing, sources, writer, make or partial(_reader, settings)):
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
    patients = {order.study_instance_uid: order.patient for order in missing}
    why = ""

    def keep(row: Row, node: Node) -> None:
        nonlocal why
        why = writer.write(row, node, patients[row.study_instance_uid])

    if not missing:
        return
    with make(keep) as read:
        for order in missing:
            why = ""
            reading = read(sources.get(order))
            yield order.study, why or reading.reason


def _reader(settings: Settings, also: Also) -> AbstractContextManager[Read]:
    return reader(settings, pictures=False, also=also)


def _begin(out: Path, *, faces: bool) -> None:
    """Make the folder, and say in it what it holds.

    Raises
    ------
    Permanent
        If it holds an export with faces and shall hold one without, or the other way round.
    """
    make_private(out, "OUT")
    readme = out / "README.txt"
    text = README.format(faces=FACES if faces else FACELESS.format(mm=KEPT_MM))
    if readme.exists() and readme.read_text() != text:
        raise Permanent(
            f"{out} holds another export: its {readme.name} says which; take a new folder"
        )
    readme.write_text(text)
