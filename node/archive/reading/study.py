"""One study of an archive, read as `ichnode analyse` reads it.

A reader keeps its networks and its decoding process. Each study has a worklist and a spool of its
own, so that none knows of another, and both are gone when it is read.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from os.path import commonpath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from models.volume import Volume
from node.archive.corridor import ingest, private, read
from node.archive.reading.cluster import SCRATCH
from node.archive.reading.result import Reading, reading_of
from node.arrive.intake import Intake
from node.arrive.media import Found
from node.cases.decoding import decoding_process
from node.cases.detector import load_detector
from node.cases.pipeline import Node
from node.clock import utc_now
from node.dicom.net.association import ACCEPTED_SOP_CLASSES
from node.dicom.read.pixels import Decoder
from node.records import SeriesPlan
from node.scratch import scratch
from node.settings import Settings
from node.worklist import Worklist, upgrade

if TYPE_CHECKING:
    from models.detector import Detector


@dataclass(frozen=True, slots=True)
class Material:
    """The files of a study: where they lie, or what was retrieved.

    Attributes
    ----------
    objects
        Part 10 files in memory, each with SOP class and instance UID that it was announced with.
    lost
        How many objects should have come and did not.
    """

    study_instance_uid: str
    paths: tuple[str, ...] = ()
    objects: tuple[tuple[bytes, tuple[str, str]], ...] = ()
    lost: int = 0
    seconds_retrieve: float = 0.0


@dataclass(frozen=True, slots=True)
class Filed:
    """A study on a worklist and a spool of its own, of which no stage has decided anything.

    Attributes
    ----------
    node
        Works on this study alone.
    damaged
        How many of its files could not be used though they should have been.
    """

    study_instance_uid: str
    node: Node
    damaged: int

    @property
    def missing(self) -> str:
        """Why there is nothing to read; "" if there is something."""
        if self.node.arrivals.study(self.study_instance_uid):
            return ""
        return f"no file of it could be used ({self.damaged} are damaged)"


Read = Callable[[Material], Reading]
File = Callable[[Material], AbstractContextManager[Filed]]


@contextmanager
def filer(
    settings: Settings,
    *,
    detector: Callable[[], "Detector"] | None = None,
    decoder: Decoder | None = None,
) -> Iterator[File]:
    """Yield a function that files a study, whose files are gone when its block ends.

    Parameters
    ----------
    detector
        Returns the networks; None loads those of the settings.
    decoder
        Reads pixels; None does so in a process with limits.

    Raises
    ------
    BadConfiguration
        If the networks cannot be loaded.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(scratch(SCRATCH))
        upgrade(private(settings, folder / "empty").url)
        decode = decoder or stack.enter_context(decoding_process(settings.decode))
        networks = detector or _loaded(settings)
        networks()
        yield _Filer(settings, folder, networks, decode).file


@contextmanager
def reader(
    settings: Settings,
    *,
    pictures: bool,
    detector: Callable[[], "Detector"] | None = None,
    decoder: Decoder | None = None,
) -> Iterator[Read]:
    """Yield a function that reads a study; the networks are loaded, and kept.

    Parameters
    ----------
    pictures
        Whether the readings bring pictures.
    detector, decoder
        As of `filer`, which also says what is raised.
    """
    with filer(settings, detector=detector, decoder=decoder) as file:
        yield _Reader(file, pictures).read


def _loaded(settings: Settings) -> Callable[[], "Detector"]:
    found = load_detector(settings)
    return lambda: found


@dataclass(frozen=True, slots=True)
class _Filer:
    settings: Settings
    folder: Path
    detector: Callable[[], "Detector"]
    decode: Decoder

    @contextmanager
    def file(self, material: Material) -> Iterator[Filed]:
        with TemporaryDirectory(dir=self.folder) as temporary:
            own = private(self.settings, Path(temporary) / "data")
            shutil.copytree(self.folder / "empty", own.data_dir)
            with Worklist(own.url) as worklist:
                node = Node.on(worklist, own, self.detector, utc_now, self.decode)
                faults: list[str] = []
                lost = material.lost + _file(material, node, faults.append)
                node = replace(node, lost_files=lost)
                yield Filed(material.study_instance_uid, node, len(faults))


class _Timed:
    """A decoder, and how many seconds it took."""

    def __init__(self, decode: Decoder) -> None:
        self._decode = decode
        self.seconds = 0.0

    def __call__(self, plan: SeriesPlan, root: Path) -> Volume:
        began = time.perf_counter()
        try:
            return self._decode(plan, root)
        finally:
            self.seconds += time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class _Reader:
    file: File
    pictures: bool

    def read(self, material: Material) -> Reading:
        """Return what comes of a study."""
        began = time.perf_counter()
        with self.file(material) as study:
            decode = _Timed(study.node.decode)
            found = self._read(replace(study, node=replace(study.node, decode=decode)))
        taken = time.perf_counter() - began
        return replace(
            found,
            seconds_retrieve=material.seconds_retrieve,
            seconds_decode=decode.seconds,
            seconds_read=taken - decode.seconds,
        )

    def _read(self, study: Filed) -> Reading:
        if study.missing:
            return Reading("FAILED", study.missing)
        faults: list[str] = []
        row = read(study.study_instance_uid, study.node, faults.append)
        return reading_of(row, study.node, faults, pictures=self.pictures)


def _file(material: Material, node: Node, blame: Callable[[str], None]) -> int:
    """File the study; return how many files should have been used and could not be."""
    lost = 0
    if material.paths:
        paths = [Path(path) for path in material.paths]
        root = Path(commonpath([path.parent for path in paths]))
        _, lost = ingest(Found(root, paths), node, lambda _: None, blame)
    if material.objects:
        intake = Intake(node.settings, node.arrivals, node.clock, kinds=ACCEPTED_SOP_CLASSES)
        for file, named in material.objects:
            intake.take(named[1], file, announced=named)
        intake.release()
        for left in intake.left_out:
            lost += left.fault
            blame(f"{left.name} is left out: {left.reason}")
    return lost
