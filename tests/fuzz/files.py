"""Doors of files: objects as they came, series of them, media, and the settings."""

import json
import operator
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from models.findings import Findings, Unreadable
from models.volume import Volume
from node.arrive.intake import Intake
from node.arrive.media import file_all, find
from node.case_folder import CaseFolder
from node.cases.decoding import decoding_process
from node.cases.report import write_report
from node.cases.triage import triage
from node.dicom.archive.apart import Apart
from node.dicom.archive.attributes import read_attributes
from node.dicom.archive.frames import frames_as_stored, is_compressed, uncompressed
from node.dicom.archive.rendered import Wish, picture
from node.dicom.read.header import named_class, open_object
from node.dicom.read.identity import read_identity, read_person_name
from node.dicom.read.part10 import dataset_of
from node.errors import BadConfiguration, BadObject, Permanent, Refused
from node.faults import faults
from node.in_force import InForce
from node.outcomes import NotAnalysed
from node.records import Header, SeriesPlan, SliceRef
from node.settings import Settings, as_toml, load
from node.states import Reason
from tests.fuzz.behind import LIMITS, Door, node
from tests.fuzz.seeds import SCAN, edited
from tests.support.builder import T0, alone, encoded, store
from tests.support.working import PREPARING, Predictor


@contextmanager
def header() -> Iterator[Door]:
    """A file, as it is read when it comes."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "object.dcm")

        def door(data: bytes) -> None:
            path.write_bytes(data)
            named_class(data)
            for read in (read_identity, read_person_name):
                with suppress(BadObject):
                    read(path)
            try:
                found = open_object(data, pixels=False).header
            except BadObject:
                return
            _require_storable(found)
            dataset_of(data)

        yield door


def _require_storable(found: Header) -> None:
    """A header goes into the database and comes back; PostgreSQL takes no NUL."""
    said = json.dumps(found.to_json(), allow_nan=False, ensure_ascii=False)
    said.encode()  # no lone surrogates
    assert "\\u0000" not in said
    assert Header.from_json(json.loads(said)) == found


@contextmanager
def archive() -> Iterator[Door]:
    """A file that is queried and retrieved: metadata, frames, pictures, other syntaxes."""
    apart = Apart(LIMITS)
    with TemporaryDirectory() as folder, closing(apart):
        path = Path(folder, "object.dcm")
        wish = Wish("image/png", size=(64, 64))

        def door(data: bytes) -> None:
            path.write_bytes(data)
            with suppress(BadObject):
                described = read_attributes(path)
                json.loads(described.metadata)
                syntax = str(described.object["TransferSyntaxUID"])
                # As in `node.web.dicomweb.retrieve`: only what needs a codec runs apart.
                run = apart.run if is_compressed(syntax) else operator.call
                for wanted in ((frames_as_stored, [1]), (picture, 1, wish), (uncompressed,)):
                    with suppress(BadObject):
                        run(wanted[0], data, *wanted[1:])

        yield door


@contextmanager
def pixels() -> Iterator[Door]:
    """A file whose frames are planned, decoded in the limited process."""
    with TemporaryDirectory() as folder, decoding_process(LIMITS) as decode:

        def door(data: bytes) -> None:
            try:
                refs = store([data], Path(folder)).instances
            except BadObject:
                return
            plan = _everything(refs[0].header, refs[0].stored.path, refs[0].stored.sha256)
            try:
                if not plan.slices:
                    return
                with suppress(Refused):
                    require_whole(decode(plan, Path(folder)), len(plan.slices))
            finally:
                Path(folder, refs[0].stored.path).unlink()

        yield door


def _everything(found: Header, path: str, sha256: str) -> SeriesPlan:
    refs = tuple(
        SliceRef(path, sha256, found.sop_class_uid, found.sop_instance_uid, number, place)
        for number, frame in enumerate(found.frames[:64], start=1)
        if (place := frame.position_mm) is not None
    )
    return SeriesPlan(found.study_instance_uid, found.series_instance_uid, refs, "")


def require_whole(volume: Volume, slices: int) -> None:
    """A volume that the detector gets has all its slices, each in its place, and finite values."""
    assert len(volume.hu) == slices
    assert np.isfinite(volume.hu).all()
    assert np.isfinite(volume.positions_mm).all() and np.isfinite(volume.orientation).all()
    assert np.isfinite(volume.slice_extent_mm).all() and (np.diff(volume.locations_mm) > 0).all()
    assert min(volume.spacing_mm) > 0


@contextmanager
def volume() -> Iterator[Door]:
    """A series whose headers say anything: planned, decoded and prepared for the networks.

    The input is `tests.fuzz.seeds.edited`'s.
    """
    images = [encoded(ds) for ds in SCAN.build()]
    with TemporaryDirectory() as folder, decoding_process(LIMITS) as decode:

        def door(data: bytes) -> None:
            try:
                received = store(edited(images, data), Path(folder))
            except BadObject:
                return
            _, plan = alone(received)
            if plan is None or plan.reason:
                return
            count = sum(len(image.header.frames) for image in received.instances)
            assert len(plan.slices) + len(plan.copies) <= count
            with suppress(Refused, Unreadable):
                built = decode(plan, Path(folder))
                require_whole(built, len(plan.slices))
                _, canvas = PREPARING.preprocess(built)
                assert np.isfinite(canvas.hu).all()

        yield door


@contextmanager
def report() -> Iterator[Door]:
    """A series as for `volume`, read by a fake detector if it can be, and reported in any case."""
    images = [encoded(ds) for ds in SCAN.build()]
    with TemporaryDirectory() as root, decoding_process(LIMITS) as decode:
        folder = CaseFolder(Path(root), "cases/1")
        folder.make()

        def door(data: bytes) -> None:
            try:
                _, plan = alone(store(edited(images, data), Path(root)))
            except BadObject:
                return
            if plan is None:
                return
            result: Findings | NotAnalysed = NotAnalysed(Reason.GEOMETRY, plan.reason or "fuzz")
            if not plan.reason:
                with suppress(Refused):
                    triage(plan, Predictor(), folder=folder, decode=decode)
                    plan, result = folder.require_plan_as_read(), folder.require_findings()
            with suppress(Permanent):
                write_report(plan, result, folder, T0, decode, also=("gsps", "key"))

        yield door


@contextmanager
def medium() -> Iterator[Door]:
    """The DICOMDIR of a medium with three images, beside a folder that is none of its own."""
    with node() as (settings_, worklist), TemporaryDirectory() as above:
        root = Path(above, "medium")
        (root / "DICOM").mkdir(parents=True)
        for number, ds in enumerate(SCAN(gaps_mm=(10.0,) * 2).build(), start=1):
            (root / "DICOM" / f"IM{number:06}").write_bytes(encoded(ds))
        Path(above, "OUTSIDE").write_bytes(encoded(SCAN.build()[6]))
        (root / "LINK").symlink_to("../OUTSIDE")

        def door(data: bytes) -> None:
            (root / "DICOMDIR").write_bytes(data)
            listed, there = find(root), find(root, all_files=True)
            for path in (*listed.files, *there.files):
                assert path.resolve().is_relative_to(root.resolve())
            assert len(there.files) == 3
            intake = Intake(settings_, worklist.arrivals, lambda: T0)
            for _ in file_all(listed, intake):
                pass
            assert intake.summary and all(left.name and left.reason for left in intake.left_out)

        yield door


@contextmanager
def settings() -> Iterator[Door]:
    """The settings file: read, judged, shown, read again and reloaded."""
    with TemporaryDirectory() as folder:
        path, shown = Path(folder, "ichnode.toml"), Path(folder, "shown.toml")

        def door(data: bytes) -> None:
            path.write_bytes(data)
            in_force = InForce(path, Settings())
            in_force.reload()
            try:
                read = load(path)
            except BadConfiguration as error:
                assert str(error)
                return
            assert all(str(fault) for fault in faults(read))
            for whole in (False, True):
                shown.write_text(as_toml(read, whole=whole))
                tomllib.loads(shown.read_text())

        yield door
