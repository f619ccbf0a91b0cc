"""Doors of the network: what peers say of themselves, and what they answer."""

import asyncio
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler
from unittest.mock import patch
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

from node.arrive.adt import PatientIndex
from node.arrive.archive import open_archive
from node.arrive.commitment import judged, take_report
from node.arrive.commitment_scp import CommitmentScp
from node.arrive.filing import ingest
from node.arrive.hl7_desk import Hl7Desk
from node.arrive.intake import Intake
from node.arrive.mllp import MllpListener
from node.arrive.pull import fetch, filing, order
from node.arrive.query_scp import QueryScp
from node.arrive.spool import Spool
from node.arrive.storage_scp import Receiver
from node.coverage import look
from node.deliver.answer import Verdict
from node.deliver.channels.hl7 import acknowledged, exchange
from node.deliver.channels.mail import hand_over
from node.deliver.channels.webhook import post_signed
from node.dicom.archive.identifier import decode_identifier
from node.dicom.net.acceptor import IncomingAssociation
from node.dicom.net.association import (
    ACCEPTED_SOP_CLASSES,
    UNCOMPRESSED,
    AssociationLost,
    Status,
)
from node.dicom.net.commitment import encode_report
from node.dicom.net.incoming import QueryRequest
from node.dicom.read.announcements import Reader
from node.dicom.read.commitment import read_report, read_request
from node.errors import BadObject, IchnodeError, Retryable
from node.settings import Coverage, Deliver, Destination, Pull, Settings, Source
from node.web.dicomweb.query import read_query
from node.web.dicomweb.store import Storing
from node.worklist import Actor, BadQuery, Level
from tests.fuzz.behind import Door, node
from tests.fuzz.bodies import ABOUT
from tests.fuzz.seeds import SCAN
from tests.support.builder import T0, encoded, uid
from tests.support.listeners import blunt_peer, mllp_peer, web_peer


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
def association() -> Iterator[Door]:
    """A PDU stream against the whole receiver: spool, worklist, queries."""
    with ExitStack() as stack:
        settings, worklist = stack.enter_context(node())
        queries = QueryScp(settings, worklist.archive)
        told = (worklist.arrivals, worklist.announcements)
        promises = (worklist.commitments, worklist.confirmations)
        commitment_scp = CommitmentScp(settings, *promises, lambda: T0)
        open_receiver = Receiver(
            settings, *told, lambda: T0, queries=queries, commitment=commitment_scp
        )
        receiver = stack.enter_context(open_receiver)
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
        with suppress(OSError):  # the node may have reset the connection
            peer.shutdown(socket.SHUT_WR)
        while peer.recv(1 << 16):
            pass


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
    with node() as (settings, worklist):
        spool, image = Spool(settings.data_dir, 0), encoded(SCAN.build()[6])
        ingest(image, worklist.arrivals, spool, caller="CT1", now=T0)
        take = PatientIndex(settings, worklist.patients, lambda: T0).take
        index = Hl7Desk({"ADT": take}, lambda: T0)

        def door(data: bytes) -> None:
            assert index.answer(data).startswith(b"MSH|")

        yield door


@contextmanager
def query() -> Iterator[Door]:
    """The query string of a QIDO-RS search, searched for."""
    with node() as (_, worklist):

        def door(data: bytes) -> None:
            parameters = parse_qsl(data.decode("latin-1"), keep_blank_values=True)
            for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
                with suppress(HTTPException, BadQuery):
                    worklist.archive.find(read_query(level, parameters).query)

        yield door


PIECE = 700
"""Bytes of a body that come at once: so many that boundaries are cut."""


SECRET = "ICHNODE_FUZZ_SECRET"
HASTY = Settings(deliver=Deliver(timeout_s=2.0))


def _secret() -> AbstractContextManager[object]:
    """Set the variable of the secret while the block runs."""
    return patch.dict(os.environ, {SECRET: "user:word"})


@contextmanager
def mllp() -> Iterator[Door]:
    """What an HL7 sender writes on its connection: frames of messages to the patient index."""
    with node() as (settings, worklist), socket.create_server(("127.0.0.1", 0)) as listening:
        take = PatientIndex(settings, worklist.patients, lambda: T0).take
        index = Hl7Desk({"ADT": take}, lambda: T0)
        listener = MllpListener(settings.receive.adt, 1.0, index.answer)

        def door(data: bytes) -> None:
            with socket.create_connection(listening.getsockname()) as peer:
                ours, _ = listening.accept()
                peer.sendall(data[: 1 << 16])
                peer.shutdown(socket.SHUT_WR)
                with ours:
                    listener.serve(ours)

        yield door


@contextmanager
def acknowledgement() -> Iterator[Door]:
    """What an HL7 peer answers to a message, frame and all."""
    said = b""
    with mllp_peer(lambda _, connection: connection.sendall(said)) as heard:
        to = Destination(name="ris", how="hl7", host="127.0.0.1", port=heard.port)

        def door(data: bytes) -> None:
            nonlocal said
            said = data
            heard.messages.clear()
            with suppress(OSError, Retryable):
                answer = acknowledged(exchange(to, b"MSH|^~\\&|", 2.0), ABOUT)
                taken = answer.verdict is Verdict.STORED
                assert not taken or (ABOUT.encode() in data and (b"AA" in data or b"CA" in data))

        yield door


@contextmanager
def webhook() -> Iterator[Door]:
    """What a web server answers to a message."""
    said = b""
    with web_peer(lambda handler: handler.connection.sendall(said)) as heard, _secret():
        hook = {"url": f"http://127.0.0.1:{heard.port}/hook", "secret_variable": SECRET}
        to = Destination(name="hook", how="webhook", webhook=hook)  # type: ignore[arg-type]

        def door(data: bytes) -> None:
            nonlocal said
            said = data
            heard.messages.clear()
            answer = post_signed(b"{}", "key", to, HASTY)
            assert answer.verdict is not Verdict.STORED or b" 2" in data

        yield door


@contextmanager
def mail() -> Iterator[Door]:
    """What a mail server says, all of it at once, to a client that logs in and sends."""
    said = b""
    with blunt_peer(lambda: said) as port, _secret():
        options = {"sender": "a@a.example", "recipient": "b@a.example", "security": "none"}
        options |= {"login_variable": SECRET}
        to = Destination(name="mail", how="mail", host="127.0.0.1", port=port, mail=options)  # type: ignore[arg-type]
        letter = EmailMessage()
        letter["From"], letter["To"] = options["sender"], options["recipient"]

        def door(data: bytes) -> None:
            nonlocal said
            said = data
            answer = hand_over(letter, to, HASTY)
            assert answer.verdict is not Verdict.STORED or b"250" in data

        yield door


@contextmanager
def commitment() -> Iterator[Door]:
    """What N-ACTION and N-EVENT-REPORT carry; the first byte chooses which, and the syntax."""
    with node() as (settings, worklist):
        spool, image = Spool(settings.data_dir, 0), encoded(SCAN.build()[6])
        ingest(image, worklist.arrivals, spool, caller="PEER", now=T0)
        promises, awaited = worklist.commitments, worklist.confirmations

        def door(data: bytes) -> None:
            chosen, information = (data[:1] or b"\0")[0], data[1:]
            syntax = UNCOMPRESSED[chosen // 2 % 3]
            if chosen % 2:
                status, said = take_report(information, syntax, awaited, settings, T0)
                assert status is not Status.SUCCESS and said, "nobody asked for it"
                with suppress(BadObject):
                    reasons = read_report(information, syntax).failed.values()
                    assert all(0 <= reason <= 0xFFFF for reason in reasons)
                return
            with suppress(BadObject):
                asked = read_request(information, syntax)
                duty = promises.ask(Actor("PEER", "127.0.0.1"), asked, "fuzz", 300, T0)
                report = judged(duty, promises, settings, T0)
                assert {*report.committed, *report.failed} == {*asked.references}
                for each in UNCOMPRESSED:
                    encode_report(report, each)

        yield door


@contextmanager
def stow() -> Iterator[Door]:
    """A line with a Content-Type, then a body that is stored by STOW-RS, in pieces."""
    with node() as (settings, worklist):
        storing = Storing(settings, worklist.arrivals, lambda: T0)

        def door(data: bytes) -> None:
            kind, _, body = data.partition(b"\n")
            try:
                answer = asyncio.run(
                    storing.store(_posted(kind, body), "fuzz", None, "", lambda _: None)
                )
            except HTTPException as error:
                assert error.status_code in (400, 415)
                return
            told = json.loads(bytes(answer.body))
            good, bad = (
                len(told.get(tag, {}).get("Value", ())) for tag in ("00081199", "00081198")
            )
            assert good + bad and answer.status_code == (200 if not bad else 202 if good else 409)

        yield door


def _posted(kind: bytes, body: bytes) -> Request:
    """Return a request whose body comes in pieces."""
    left = [body[at : at + PIECE] for at in range(0, len(body), PIECE)]

    async def receive() -> dict[str, object]:
        piece = left.pop(0) if left else b""
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    headers = [(b"content-type", kind)]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


@contextmanager
def web() -> Iterator[Door]:
    """What an archive answers by DICOMweb to every question: a Content-Type in a line, a body."""
    said = b""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        kind, _, body = said.partition(b"\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        handler.connection.sendall(head % (kind, len(body)) + body)
        handler.close_connection = True

    with node() as (settings, worklist), web_peer(answer) as heard:
        source = Source(name="pacs", how="web", url=f"http://127.0.0.1:{heard.port}/web")
        asking = {"pull": Pull(sources=(source,)), "coverage": Coverage(ask=("pacs",))}
        settings = settings.model_copy(update=asking)

        def door(data: bytes) -> None:
            nonlocal said
            said = data
            heard.messages.clear()
            with suppress(IchnodeError):
                look(settings, worklist.coverage, lambda: T0)
            worklist.coverage.standing(settings.coverage, T0)
            intake = Intake(settings, worklist.arrivals, lambda: T0, ACCEPTED_SOP_CLASSES)
            with open_archive(source, settings, filing(source, intake)) as archive:
                study, series = uid("study"), uid("series")
                with suppress(IchnodeError):
                    archive.count(study, series)
                with suppress(IchnodeError):
                    order(archive, "A1", source, accession=True)
                with suppress(IchnodeError):
                    wanted = order(archive, study, source)
                    for _ in fetch(wanted, archive, source, intake, worklist.arrivals):
                        pass
                with suppress(IchnodeError):
                    for _ in archive.fetch(study, series):
                        pass

        yield door
