"""One study of an archive, read as `ichnode analyse` reads it; and what is told of it.

A reader keeps its networks and its decoding process. Each study has a worklist and a spool of its
own, so that none knows of another, and both are gone when it is read.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from os.path import commonpath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from models.findings import SUBTYPES, Findings
from models.volume import Volume
from node.archive.corridor import case_folder, describe, ingest, private, read
from node.archive.finding import age_band, iso_day, place
from node.archive.reading.pictures import picture
from node.archive.reading.scratch import scratch
from node.arrive.intake import Intake
from node.arrive.media import Found
from node.cases.decoding import decoding_process
from node.cases.detector import load_detector
from node.cases.pipeline import Node
from node.cases.substitutes import years
from node.clock import utc_now
from node.dicom.net.association import ACCEPTED_SOP_CLASSES
from node.dicom.read.header import open_object
from node.dicom.read.pixels import Decoder
from node.dicom.read.provenance import provenance
from node.errors import BadObject
from node.records import Series, SeriesPlan
from node.settings import Settings
from node.states import Priority, State
from node.worklist import Row, Worklist, upgrade

if TYPE_CHECKING:
    from models.detector import Detector

RESULTS = {Priority.SUSPECTED: "SUSPECTED", Priority.NOT_SUSPECTED: "NO_FINDING"}
"""What a priority is as a result; every other study was not analysed, or failed."""


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
class Reading:
    """What came of a study, in plain values; text is "" and a number None where there is none.

    The columns of an outcome have these names; `station` and what identifies the study are for
    pseudonyms alone.
    """

    result: str
    reason: str = ""
    probability: float | None = None
    uncertain: bool = False
    subtypes: dict[str, float] | None = None
    volume_ml: float | None = None
    limitations: tuple[str, ...] = ()
    mimics: tuple[str, ...] = ()
    operating_point: str = ""
    threshold: float | None = None
    bundle: str = ""
    bundle_version: str = ""
    manufacturer: str = ""
    model: str = ""
    station: str = ""
    kernel: str = ""
    thickness_mm: float | None = None
    age_band: str = ""
    sex: str = ""
    place: str = ""
    study_date: str = ""
    slices: int | None = None
    seconds_retrieve: float = 0.0
    seconds_decode: float = 0.0
    seconds_read: float = 0.0
    key_slice: int | None = None
    picture: bytes | None = field(default=None, repr=False)
    """`images/STUDY.npz`; None if the study was not read, or none is wanted."""


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
        return _reading(row, node, faults, pictures=self.pictures)


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


def _reading(row: Row, node: Node, faults: Sequence[str], *, pictures: bool) -> Reading:
    """Return what is told of a study that went through the stages."""
    folder = case_folder(row, node)
    found = folder.read_findings()
    told = describe(row, node)
    reading = Reading(
        _result(row),
        row.reason or ("a reading or a report of it failed" if faults else ""),
        probability=row.probability,
        uncertain=row.uncertain,
        volume_ml=row.volume_ml,
        limitations=row.limitations,
        mimics=tuple(told["mimics"]),
        slices=len(told["slices"]),
        **_origin(row, node),
    )
    if found is None:
        return reading
    image, key = _picture(row, node, found) if pictures else (None, None)
    name, _, version = found.bundle.partition("@")
    return replace(
        reading,
        subtypes=_subtypes(found),
        operating_point=found.operating_point_name or "",
        threshold=found.operating_point,
        bundle=name,
        bundle_version=version,
        picture=image,
        key_slice=key,
    )


def _result(row: Row) -> str:
    if row.priority in RESULTS:
        return RESULTS[row.priority]
    failed = row.state is State.FAILED or row.priority is Priority.PENDING
    return "FAILED" if failed else "NOT_ANALYSED"


def _subtypes(found: Findings) -> dict[str, float] | None:
    if not found.subtypes:
        return None
    return {"any": found.probability, **{name: found.subtypes[name] for name in SUBTYPES}}


def _origin(row: Row, node: Node) -> dict[str, Any]:
    """Return where the series that speaks for a study comes from."""
    series = _series(row, node)
    headers = [image.header for image in series.instances]
    try:
        with (node.root / series.instances[0].stored.path).open("rb") as file:
            origin = provenance(open_object(file, pixels=False).ds)
    except (BadObject, OSError):
        return {}
    first = headers[0]
    return {
        "manufacturer": origin.manufacturer,
        "model": origin.manufacturer_model_name,
        "station": origin.station_name,
        "kernel": first.convolution_kernel,
        "thickness_mm": first.slice_thickness_mm,
        "age_band": age_band(years(headers)),
        "sex": origin.patient_sex,
        "place": place(origin.places),
        "study_date": iso_day(origin.study_date or first.acquired),
    }


def _series(row: Row, node: Node) -> Series:
    held = node.arrivals.study(row.study_instance_uid)
    return next(one for one in held if one.series_instance_uid == row.series_instance_uid)


def _picture(row: Row, node: Node, found: Findings) -> tuple[bytes, int | None]:
    plan = case_folder(row, node).require_plan_as_read()
    return picture(node.decode(plan, node.root), found)
