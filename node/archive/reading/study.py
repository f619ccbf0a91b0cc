"""One study of an archive, read as `ichnode analyse` reads it.

A reader keeps its networks and its decoding process. Each study has a worklist and a spool of its
own, so that none knows of another, and both are gone when it is read.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from os.path import commonpath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from models.volume import Volume
from node.archive.corridor import ingest, private, read
from node.archive.reading.result import Reading, reading_of
from node.archive.reading.scratch import scratch
from node.arrive.intake import Intake
from node.arrive.media import Found
from node.cases.decoding import decoding_process
from node.cases.detector import load_detector
from node.cases.pipeline import Node
from node.clock import utc_now
from node.dicom.net.association import ACCEPTED_SOP_CLASSES
from node.dicom.read.pixels import Decoder
from node.records import SeriesPlan
from node.settings import Settings
from node.worklist import Row, Worklist, upgrade

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


Read = Callable[[Material], Reading]
Also = Callable[[Row, Node], None]


@contextmanager
def reader(
    settings: Settings,
    *,
    pictures: bool,
    detector: Callable[[], "Detector"] | None = None,
    decoder: Decoder | None = None,
    also: Also | None = None,
) -> Iterator[Read]:
    """Yield a function that reads a study; the networks are loaded, and kept.

    Parameters
    ----------
    pictures
        Whether the readings bring pictures.
    detector
        Returns the networks; None loads those of the settings.
    decoder
        Reads pixels; None does so in a process with limits.
    also
        Is called with each study that went through the stages, while its files are there.

    Raises
    ------
    BadConfiguration
        If the networks cannot be loaded.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        upgrade(private(settings, folder / "empty").url)
        decode = decoder or stack.enter_context(decoding_process(settings.decode))
        networks = detector or _loaded(settings)
        networks()
        yield _Reader(settings, folder, networks, decode, pictures, also).read


def _loaded(settings: Settings) -> Callable[[], "Detector"]:
    found = load_detector(settings)
    return lambda: found


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
    settings: Settings
    folder: Path
    detector: Callable[[], "Detector"]
    decode: Decoder
    pictures: bool
    also: Also | None

    def read(self, material: Material) -> Reading:
        """Return what comes of a study."""
        began = time.perf_counter()
        decode = _Timed(self.decode)
        with TemporaryDirectory(dir=self.folder) as temporary:
            own = private(self.settings, Path(temporary) / "data")
            shutil.copytree(self.folder / "empty", own.data_dir)
            with Worklist(own.url) as worklist:
                node = Node.on(worklist, own, self.detector, utc_now, decode)
                found = self._read(material, node)
        taken = time.perf_counter() - began
        return replace(
            found,
            seconds_retrieve=material.seconds_retrieve,
            seconds_decode=decode.seconds,
            seconds_read=taken - decode.seconds,
        )

    def _read(self, material: Material, node: Node) -> Reading:
        faults: list[str] = []
        lost = material.lost + _file(material, node, faults.append)
        uid = material.study_instance_uid
        if not node.arrivals.study(uid):
            return Reading("FAILED", f"no file of it could be used ({len(faults)} are damaged)")
        faults.clear()
        row = read(uid, replace(node, lost_files=lost), faults.append)
        if self.also is not None:
            self.also(row, node)
        return reading_of(row, node, faults, pictures=self.pictures)


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
