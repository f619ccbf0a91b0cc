"""STOW-RS (PS3.18 10.5): objects in a multipart body are filed as by C-STORE, one after another."""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from node.arrive.intake import Intake
from node.dicom.archive.json_model import attributes_json
from node.dicom.net.association import ACCEPTED_SOP_CLASSES, Status
from node.dicom.read.header import read_header
from node.errors import BadObject, Retryable
from node.log import event
from node.settings import Settings
from node.web.dicomweb.answers import dicom_json, parameters
from node.worklist import Arrivals

logger = logging.getLogger(__name__)

DICOM = "application/dicom"
AT_ONCE = 4
"""How many bodies are taken at once; each may hold one object in memory. Chosen."""


class Named(NamedTuple):
    """The UIDs of an object; "" if it cannot be read."""

    sop_class: str = ""
    sop_instance: str = ""
    study: str = ""
    series: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of one object of a body."""

    named: Named
    status: Status
    comment: str = ""
    """Why it was not filed; "" if it was."""


class Storing:
    """Takes bodies of objects."""

    def __init__(
        self, settings: Settings, arrivals: Arrivals, clock: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._arrivals = arrivals
        self._clock = clock
        self._open = 0

    async def store(
        self,
        request: Request,
        holder: str,
        study: str | None,
        base: str,
        filed: Callable[[str], None],
    ) -> Response:
        """File the objects of a body; answer what became of each.

        Parameters
        ----------
        study
            The study that all of them must be of; None for any.
        filed
            Is told the study of each object that was filed.

        Raises
        ------
        HTTPException
            400 for a body that is malformed, 415 for one of another kind, 503 if there are too many
            bodies now. Objects before the fault are filed.
        """
        if self._open >= AT_ONCE:
            raise HTTPException(503, "too many stores at once", headers={"Retry-After": "5"})
        self._open += 1
        try:
            stored = await self._take_all(request, holder, study, filed)
        finally:
            self._open -= 1
        failed = sum(bool(one.comment) for one in stored)
        status = 200 if not failed else 409 if failed == len(stored) else 202
        say = event("stowed", caller=holder, objects=len(stored), failed=failed)
        logger.info("stored by DICOMweb", extra=say)
        return dicom_json(json.dumps(_response(stored, base, study)), status=status)

    async def _take_all(
        self, request: Request, holder: str, study: str | None, filed: Callable[[str], None]
    ) -> list[Stored]:
        parts = _Parts(_boundary(request), self._settings.receive.max_object_mb << 20)
        opened = partial(Intake, self._settings, self._arrivals, self._clock, ACCEPTED_SOP_CLASSES)
        intake = await run_in_threadpool(opened)
        stored: list[Stored] = []
        try:
            async for chunk in _within(request, self._settings.receive.network_timeout_s):
                parts.add(chunk)
                for file in parts.taken():
                    take = partial(self._take, intake, file, holder, study, len(stored))
                    stored.append(await run_in_threadpool(take))
                    if not stored[-1].comment:
                        filed(stored[-1].named.study)
            parts.require_end()
        except ClientDisconnect:
            raise HTTPException(400, "the caller went away") from None
        except (TimeoutError, FormParserError) as error:
            raise HTTPException(400, _fault(error, len(stored))) from error
        if not stored:
            raise HTTPException(400, "the body has no objects")
        await run_in_threadpool(intake.release)
        return stored

    def _take(
        self, intake: Intake, file: bytes | None, holder: str, study: str | None, number: int
    ) -> Stored:
        if file is None:
            most = self._settings.receive.max_object_mb
            return Stored(Named(), Status.OUT_OF_RESOURCES, f"over {most} MB")
        try:
            header = read_header(file)
            named = Named(
                header.sop_class_uid,
                header.sop_instance_uid,
                header.study_instance_uid,
                header.series_instance_uid,
            )
        except BadObject:
            named = Named()
        if study is not None and named.study not in ("", study):
            return Stored(named, Status.MISMATCH, "of another study than the resource")
        before = len(intake.left_out)
        try:
            status = intake.take(str(number), file, caller=holder)
        except Retryable as error:
            logger.error("not stored: %s", error, extra=event("out_of_resources"))
            return Stored(named, Status.OUT_OF_RESOURCES, str(error))
        if status is Status.SOP_CLASS_NOT_SUPPORTED:
            return Stored(named, status, "a SOP class that the node does not take")
        left_out = intake.left_out[before:]
        if left_out and status is Status.SUCCESS:  # set aside, which a C-STORE's sender is not told
            status = Status.CANNOT_UNDERSTAND
        return Stored(named, status, left_out[0].reason if left_out else "")


class _Parts:
    """A multipart body that comes in pieces; of its parts, those that are whole.

    Parameters
    ----------
    most_bytes
        A longer part is read and dropped.
    """

    def __init__(self, boundary: str, most_bytes: int) -> None:
        self._most = most_bytes
        self._part = bytearray()
        self._dropped = False
        self._whole: list[bytes | None] = []
        self._field, self._value = b"", b""
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_field,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_part_data": self._add,
                "on_part_end": self._end,
                "on_end": self._end_all,
            },
        )
        self._first = True

    def add(self, chunk: bytes) -> None:
        """Add a piece; raise `FormParserError` if it cannot continue the body."""
        if self._first:  # some senders write an empty preamble
            chunk = chunk.lstrip(b"\r\n")
            self._first = not chunk
        if chunk:
            self._parser.write(chunk)

    def taken(self) -> list[bytes | None]:
        """Return the parts that became whole; None for one that was dropped."""
        whole, self._whole = self._whole, []
        return whole

    def require_end(self) -> None:
        """Raise `FormParserError` unless the last boundary has come."""
        if not self._ended:
            raise FormParserError("it ends before its last boundary")

    def _begin(self) -> None:
        self._part, self._dropped = bytearray(), False
        self._field, self._value = b"", b""

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._field.strip().lower() == b"content-type":
            kind = self._value.decode("latin-1").partition(";")[0].strip().lower()
            if kind != DICOM:
                raise HTTPException(415, f"each part must be {DICOM}")
        self._field, self._value = b"", b""

    def _add(self, data: bytes, start: int, end: int) -> None:
        if len(self._part) + end - start > self._most:
            self._part, self._dropped = bytearray(), True
        if not self._dropped:
            self._part += data[start:end]

    def _end(self) -> None:
        self._whole.append(None if self._dropped else bytes(self._part))
        self._part = bytearray()

    def _end_all(self) -> None:
        self._ended = True


async def _within(request: Request, seconds: float) -> Any:
    """Yield the pieces of a body; raise `TimeoutError` if the caller is silent for so long."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(seconds):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        for start in range(0, len(chunk), 1 << 16):
            yield chunk[start : start + (1 << 16)]


def _boundary(request: Request) -> str:
    kind, named = parameters(request.headers.get("content-type", ""))
    if kind != "multipart/related" or named.get("type", DICOM).lower() != DICOM:
        raise HTTPException(415, f'send multipart/related; type="{DICOM}"')
    if not named.get("boundary", "").isascii() or not 0 < len(named.get("boundary", "")) <= 200:
        raise HTTPException(400, "Content-Type names no boundary")
    return named["boundary"]


def _fault(error: Exception, stored: int) -> str:
    what = "is silent too long" if isinstance(error, TimeoutError) else "is malformed or cut short"
    return f"the body {what}; objects before the fault, which are kept: {stored}"


def _response(stored: list[Stored], base: str, study: str | None) -> dict[str, Any]:
    """Return the Store Instances Response module (PS3.18 annex I) in the DICOM JSON model."""
    good = [one for one in stored if not one.comment]
    bad = [one for one in stored if one.comment]
    said: dict[str, Any] = {}
    if study is not None:
        said |= attributes_json({"RetrieveURL": f"{base}/studies/{study}"})
    if good:
        said["00081199"] = {"vr": "SQ", "Value": [_referenced(one, base) for one in good]}
    if bad:
        said["00081198"] = {"vr": "SQ", "Value": [_failed(one) for one in bad]}
    return said


def _referenced(one: Stored, base: str) -> dict[str, Any]:
    path = f"/studies/{one.named.study}/series/{one.named.series}"
    url = f"{base}{path}/instances/{one.named.sop_instance}"
    return _uids(one) | attributes_json({"RetrieveURL": url})


def _failed(one: Stored) -> dict[str, Any]:
    reason: dict[str, str | int] = {
        "FailureReason": int(one.status),
        "ErrorComment": one.comment[:64],
    }
    return _uids(one) | attributes_json(reason)


def _uids(one: Stored) -> dict[str, Any]:
    return attributes_json(
        {
            "ReferencedSOPClassUID": one.named.sop_class,
            "ReferencedSOPInstanceUID": one.named.sop_instance,
        }
    )
