"""One case read by the other bundle, by the functions that read it live, in a folder of its own."""

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from models.findings import Findings
from node.archive.acceptance import small_picture
from node.archive.evidence import Head
from node.case_folder import CaseFolder
from node.cases.triage import triage
from node.depot import Depot
from node.dicom.read.header import open_object
from node.dicom.read.pixels import Decoder
from node.dicom.read.provenance import provenance
from node.errors import BadObject, Refused
from node.records import SeriesPlan
from node.watch import scanner_name
from node.wording import flip
from node.worklist import SHADOW_RESULTS, Due, ShadowResult, Told

if TYPE_CHECKING:
    from models.detector import Detector


@dataclass(frozen=True, slots=True)
class Reader:
    """What a case is read with.

    Attributes
    ----------
    scratch
        A folder below the depot's root; whatever a reading writes is there, and gone afterwards.
    """

    depot: Depot
    detector: "Detector"
    decode: Decoder
    scratch: Path


@dataclass(frozen=True, slots=True)
class Read:
    """What both bundles say of a case.

    Attributes
    ----------
    pictures
        The key slices of the live bundle and of the other one, as JPEG, where they differ.
    """

    told: Told
    live: Told
    origin: dict[str, Any]
    pictures: tuple[bytes | None, bytes | None]


def read(due: Due, reader: Reader) -> Read:
    """Read a case by the plan that it was read by live; nothing is left of it but what is returned.

    Raises
    ------
    FileNotFoundError, ValueError
        If what the live bundle left is gone or damaged.
    IchnodeError
        As decoding raises it.
    """
    depot = reader.depot
    before = CaseFolder(depot.seen(due.folder), due.folder)
    plan = before.require_plan()
    depot.bring_all(ref.path for ref in (*plan.slices, *plan.copies))
    live = _whole(due.live, before)
    with TemporaryDirectory(dir=reader.scratch) as temporary:
        folder = CaseFolder(depot.root, Path(temporary).relative_to(depot.root).as_posix())
        folder.write_plan(plan)
        told = _told(plan, folder, reader)
        pictures: tuple[bytes | None, bytes | None] = (None, None)
        if flip(live, told):
            pictures = _pictures(before if live.probability is not None else None, folder, reader)
    return Read(told, live, _origin(due, plan, depot), pictures)


def _told(plan: SeriesPlan, folder: CaseFolder, reader: Reader) -> Told:
    began = time.perf_counter()
    try:
        outcome = triage(plan, reader.detector, folder=folder, decode=reader.decode)
    except Refused as refused:
        taken = time.perf_counter() - began
        return Told(ShadowResult.NOT_ANALYSED, str(refused), seconds=taken)
    taken = time.perf_counter() - began
    told = Told(
        SHADOW_RESULTS[outcome.priority],
        outcome.reason or "",
        probability=outcome.probability,
        uncertain=outcome.uncertain,
        volume_ml=outcome.volume_ml,
        seconds=taken,
        subtypes=dict(outcome.subtypes or {}),
        limitations=outcome.limitations,
    )
    return _whole(told, folder)


def _whole(told: Told, folder: CaseFolder) -> Told:
    """Return what is told with what only the findings say: the operating point, and mimics."""
    found = None if told.probability is None else folder.read_values()
    if found is None:
        return told
    return replace(
        told,
        operating_point=found.get("operating_point_name") or "",
        threshold=found.get("operating_point"),
        mimics=tuple(found.get("mimics", ())),
    )


def _pictures(
    before: CaseFolder | None, after: CaseFolder, reader: Reader
) -> tuple[bytes | None, bytes | None]:
    """Return the key slices of both, with what each outlined; None where nothing was read.

    Where one marks no slice, the other's is shown: that is where they differ.
    """
    old = None if before is None else before.read_findings()
    new = after.read_findings()
    keys = [one.key_slice for one in (old, new) if one and one.key_slice is not None]
    key = keys[0] if keys else None
    return (
        None if before is None or old is None else _picture(before, old, key, reader),
        None if new is None else _picture(after, new, key, reader),
    )


def _picture(folder: CaseFolder, found: Findings, other: int | None, reader: Reader) -> bytes:
    head = _head(folder.require_plan_as_read(), found, reader.decode, reader.depot.root)
    key = other if found.key_slice is None else found.key_slice
    return small_picture(head, head.key(key), outlined=True)


def _head(plan: SeriesPlan, found: Findings, decode: Decoder, root: Path) -> Head:
    """Return the slices of a series as they are, with what was outlined on them."""
    volume = decode(plan, root)
    y, x = volume.spacing_mm
    return Head(
        hu=np.clip(np.rint(volume.hu), -32768, 32767).astype(np.int16),
        mask=found.mask,
        spacing_mm=(float(volume.slice_extent_mm.mean()), y, x),
        probability=np.array([one.probability for one in found.slices], np.float32),
        orientation=volume.orientation,
    )


def _origin(due: Due, plan: SeriesPlan, depot: Depot) -> dict[str, Any]:
    """Return where the images come from, as far as their headers say."""
    header = due.header
    told: dict[str, Any] = {
        "scanner": scanner_name(
            header.manufacturer, header.manufacturer_model_name, header.station_name
        ),
        "kernel": header.convolution_kernel,
        "thickness_mm": header.slice_thickness_mm,
        "age_years": header.patient_age_years,
        "acquired": header.acquired,
    }
    with suppress(BadObject, OSError, IndexError):
        with (depot.root / plan.slices[0].path).open("rb") as file:
            found = provenance(open_object(file, pixels=False).ds)
        told |= {"sex": found.patient_sex, "places": list(found.places)}
    return told
