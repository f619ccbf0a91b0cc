"""The doors: each gives bytes to the node's real code.

A door returns if the node took the input, or refused it by one of its documented errors. Whatever
else it raises is a finding. So are a door's own assertions: a result that the node must not make of
any input.
"""

import json
import logging
import operator
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qsl

import numpy as np
from starlette.exceptions import HTTPException

from models.findings import Findings, Unreadable
from models.volume import Volume
from node.arrive.adt import PatientIndex
from node.arrive.filing import ingest
from node.arrive.query_scp import QueryScp
from node.arrive.spool import Spool
from node.arrive.storage_scp import Receiver
from node.case_folder import CaseFolder
from node.cases.decoding import decoding_process
from node.cases.report import write_report
from node.cases.triage import triage
from node.dicom.archive.apart import Apart
from node.dicom.archive.attributes import read_attributes
from node.dicom.archive.frames import frames_as_stored, is_compressed, uncompressed
from node.dicom.archive.identifier import decode_identifier
from node.dicom.archive.rendered import Wish, picture
from node.dicom.net.acceptor import IncomingAssociation
from node.dicom.net.association import (
    ACCEPTED_SOP_CLASSES,
    UNCOMPRESSED,
    AssociationLost,
    Status,
)
from node.dicom.net.incoming import QueryRequest
from node.dicom.read.announcements import Reader
from node.dicom.read.header import named_class, open_object
from node.dicom.read.identity import read_identity, read_person_name
from node.dicom.read.part10 import dataset_of
from node.errors import BadObject, Permanent, Refused
from node.outcomes import NotAnalysed
from node.records import Header, SeriesPlan, SliceRef
from node.settings import Adt, Caller, Decode, Receive, Settings
from node.states import Reason
from node.web.dicomweb.query import read_query
from node.worklist import BadQuery, Level, Worklist
from tests.fuzz.seeds import SCAN, edited
from tests.support.builder import T0, alone, encoded, store
from tests.support.databases import new_database
from tests.support.working import PREPARING, Predictor

Door = Callable[[bytes], None]

CALLER = {"ae_title": "PEER", "may": ("store", "find", "move", "get")}
TIME_S = 5.0
"""What an input may take of the processor, and of the clock in a process that decodes."""
LIMITS = Decode(timeout_s=TIME_S, memory_mb=256)
"""Of the processes that decode."""


@contextmanager
def pdus() -> Iterator[Door]:
    """A PDU stream: association request, command sets, messages of all services."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def door(data: bytes) -> None:
            with socket.create_connection(listening.getsockname()) as peer:
                ours, _ = listening.accept()
                peer.sendall(data[: 1 << 16])
                peer.shutdown(socket.SHUT_WR)
                with ours, suppress(AssociationLost):
                    _serve(ours)

        yield door


def _serve(connection: socket.socket) -> None:
    incoming = IncomingAssociation(
        connection, associate_s=1, idle_s=1, max_pdu_bytes=1 << 14, max_object_bytes=1 << 15
    )
    request = incoming.requested()
    if request.rejection is not None:
        incoming.reject(request.rejection)
        return
    incoming.accept(request)
    for each in incoming.requests():
        if isinstance(each, QueryRequest):
            incoming.is_cancelled(each)
            incoming.answer_query(each, Status.NOT_AUTHORISED)
        else:
            incoming.answer(each, Status.NOT_AUTHORISED, "fuzz")
    incoming.release()


class _Unexpected(logging.Handler):
    """Keeps the first exception that the node logged as an internal error."""

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and self.error is None:
            self.error = record.exc_info[1]

    def raise_it(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error


@contextmanager
def _node() -> Iterator[tuple[Settings, Worklist]]:
    with TemporaryDirectory() as folder:
        receive = Receive(
            host="127.0.0.1",
            port=0,
            min_free_mb=0,
            max_object_mb=1,
            network_timeout_s=1,
            callers=(Caller(**CALLER),),
            adt=Adt(),
        )
        settings = Settings(data_dir=Path(folder, "node"), receive=receive)
        new_database(settings.url)
        with Worklist(settings.url) as worklist:
            yield settings, worklist


@contextmanager
def association() -> Iterator[Door]:
    """A PDU stream against the whole receiver: spool, worklist, queries."""
    with ExitStack() as stack:
        settings, worklist = stack.enter_context(_node())
        queries = QueryScp(settings, worklist.archive)
        told = (worklist.arrivals, worklist.announcements)
        receiver = stack.enter_context(Receiver(settings, *told, lambda: T0, queries))
        unexpected = _Unexpected()
        logging.getLogger("node").addHandler(unexpected)

        def door(data: bytes) -> None:
            _say(receiver.port, data)
            unexpected.raise_it()

        yield door


def _say(port: int, data: bytes) -> None:
    """Say it all, and hear the node out."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as peer,
        suppress(ConnectionError),
    ):
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(1 << 16):
            pass


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
def attributes() -> Iterator[Door]:
    """What N-CREATE, N-SET and C-FIND carry; the first byte chooses reader and syntax."""
    reader = Reader(ACCEPTED_SOP_CLASSES)
    readers = (reader.new_step, reader.step_change, reader.notification, decode_identifier)

    def door(data: bytes) -> None:
        chosen, encoded_ = (data[:1] or b"\0")[0], data[1:]
        with suppress(BadObject):
            readers[chosen % 4](encoded_, UNCOMPRESSED[chosen // 4 % 3])

    yield door


@contextmanager
def adt() -> Iterator[Door]:
    """An HL7 message to the patient index."""
    with _node() as (settings, worklist):
        spool, image = Spool(settings.data_dir, 0), encoded(SCAN.build()[6])
        ingest(image, worklist.arrivals, spool, caller="CT1", now=T0)
        index = PatientIndex(settings, worklist.patients, lambda: T0)

        def door(data: bytes) -> None:
            assert index.answer(data).startswith(b"MSH|")

        yield door


@contextmanager
def query() -> Iterator[Door]:
    """The query string of a QIDO-RS search, searched for."""
    with _node() as (_, worklist):

        def door(data: bytes) -> None:
            parameters = parse_qsl(data.decode("latin-1"), keep_blank_values=True)
            for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
                with suppress(HTTPException, BadQuery):
                    worklist.archive.find(read_query(level, parameters).query)

        yield door


DOORS: dict[str, Callable[[], AbstractContextManager[Door]]] = {
    door.__name__: door
    for door in (pdus, association, header, archive, pixels, volume, report, attributes, adt, query)
}
"""Context managers that open a door, by name."""
