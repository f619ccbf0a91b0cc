"""What is told of a study that was read, in plain values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from models.findings import SUBTYPES, Findings
from node.archive.corridor import case_folder, describe
from node.archive.finding import age_band, iso_day, place
from node.archive.reading.pictures import picture
from node.cases.pipeline import Node
from node.cases.substitutes import years
from node.dicom.read.header import open_object
from node.dicom.read.makers import unnamed
from node.dicom.read.provenance import Provenance, provenance
from node.errors import BadObject
from node.records import Series
from node.states import Priority, State
from node.worklist import Row

RESULTS = {Priority.SUSPECTED: "SUSPECTED", Priority.NOT_SUSPECTED: "NO_FINDING"}
"""What a priority is as a result; every other study was not analysed, or failed."""


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


def reading_of(row: Row, node: Node, faults: Sequence[str], *, pictures: bool) -> Reading:
    """Return what is told of a study that went through the stages."""
    folder = case_folder(row, node)
    found = folder.read_findings()
    told = describe(row, node)
    series = _series(row, node)
    origin = _origin(series, node)
    nameless = partial(unnamed, identifying=origin.identifying)
    reading = Reading(
        _result(row),
        nameless(row.reason or ("a reading or a report of it failed" if faults else "")),
        probability=row.probability,
        uncertain=row.uncertain,
        volume_ml=row.volume_ml,
        limitations=tuple(map(nameless, row.limitations)),
        mimics=tuple(told["mimics"]),
        slices=len(told["slices"]),
        **_described(series, origin, nameless),
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


def _origin(series: Series, node: Node) -> Provenance:
    """Return where a series comes from; nothing of it if its first image cannot be read."""
    try:
        with (node.root / series.instances[0].stored.path).open("rb") as file:
            return provenance(open_object(file, pixels=False).ds)
    except (BadObject, OSError):
        return Provenance()


def _described(
    series: Series, origin: Provenance, nameless: Callable[[str], str]
) -> dict[str, Any]:
    """Return what is told of the series that speaks for a study, by columns."""
    headers = [image.header for image in series.instances]
    first = headers[0]
    return {
        "manufacturer": nameless(origin.manufacturer),
        "model": nameless(origin.manufacturer_model_name),
        "station": origin.station_name,
        "kernel": nameless(first.convolution_kernel),
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
