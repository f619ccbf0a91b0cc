"""Valid inputs that are no data sets: messages, bodies and answers of the web, media, settings."""

import json
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from typing import Any

from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from node.settings import Settings, as_toml
from tests.support.builder import item, uid

ADT = (
    rb"MSH|^~\&|PAS|H|ICHNODE|H|20260115083000||ADT^A08^ADT_A01|1|P|2.5.1||||||UNICODE UTF-8",
    b"EVN|A08|20260115083000",
    b"PID|||P1^^^H^PI~X9^^^N||Test^One^^^||19600101|F",
)
MERGE = (ADT[0].replace(b"A08^ADT_A01", b"A40^ADT_A39"), ADT[2], b"MRG|T7^^^H")
ABOUT = "GEZDGNBVGY3TQOJQGEZD"
"""MSH-10 of the message that `acknowledgement` answers."""

Named = Mapping[str, bytes]


def messages_of_hl7() -> Named:
    """Return messages without their frames."""
    return {"A08": b"\r".join(ADT) + b"\r", "A40": b"\r".join(MERGE) + b"\r"}


def framed(*messages: bytes) -> bytes:
    """Return messages in MLLP frames."""
    return b"".join(b"\x0b" + each + b"\x1c\r" for each in messages)


def acknowledgements() -> Named:
    """Return answers to the message `ABOUT`, in frames."""
    head = rb"MSH|^~\&|RIS|H|ICHNODE|H|20260115083000||ACK^R01^ACK|7|P|2.5.1" + b"\r"
    about = ABOUT.encode()
    return {
        "taken": framed(head + b"MSA|AA|" + about + b"\r"),
        "error": framed(head + b"MSA|AE|" + about + b"\rERR|||207^Application error^HL70357|E\r"),
        "other": framed(head + b"MSA|CA|1\r"),
    }


def answers_of_a_web_server() -> Named:
    """Return whole HTTP answers."""
    return {
        "taken": b"HTTP/1.1 204 No Content\r\nDate: Thu, 15 Jan 2026 08:30:00 GMT\r\n\r\n",
        "moved": b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
        "busy": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nRetry-After: 5\r\n\r\n",
    }


def replies_of_a_mail_server() -> Named:
    """Return what a server says from its greeting to its goodbye."""
    hello = b"220 mail ESMTP\r\n250-mail\r\n250-AUTH PLAIN LOGIN CRAM-MD5\r\n250 SIZE 1000\r\n"
    taken = b"250 OK\r\n250 OK\r\n354 Go\r\n250 Queued\r\n221 Bye\r\n"
    return {
        "challenge": hello + b"334 PDEyM0BtYWlsPg==\r\n235 In\r\n" + taken,
        "plain": hello.replace(b" CRAM-MD5", b"") + b"235 In\r\n" + taken,
        "refused": hello + b"334 PDEyM0BtYWlsPg==\r\n535 No\r\n" * 3 + b"221 Bye\r\n",
    }


def posts(images: Mapping[str, bytes]) -> Named:
    """Return a Content-Type in a line and a body of STOW-RS, with some of these files."""
    kind = b'multipart/related; type="application/dicom"; boundary=b1\n'
    part = b"--b1\r\nContent-Type: application/dicom\r\nContent-ID: <1@node>\r\n\r\n"
    two = b"".join(part + images[name] + b"\r\n" for name in ("explicit", "implicit"))
    return {
        "one": kind + part + images["rle"] + b"\r\n--b1--\r\n",
        "two": kind + b"\r\n" + two + b"--b1--",
        "quoted": kind.replace(b"=b1", b"='b1'").replace(b"'", b'"') + part + b"\r\n--b1--",
    }


def answers_of_an_archive(image: bytes) -> Named:
    """Return a Content-Type in a line and an answer of QIDO-RS or WADO-RS."""
    study = _json(
        *(("0020000D", "UI", uid("study")), ("00080020", "DA", "20260115")),
        *(("00080030", "TM", "083000"), ("00100020", "LO", "P1"), ("00080050", "SH", "A1")),
        *(("00081030", "LO", "CT head"), ("00080061", "CS", "CT"), ("00201208", "IS", 14)),
    )
    series = _json(
        *(("0020000E", "UI", uid("series")), ("00080060", "CS", "CT")),
        *(("0008103E", "LO", "Head 5 mm"), ("00180015", "CS", "HEAD"), ("00201209", "IS", 14)),
    )
    one = _json(("00080018", "UI", "1.2.3"), ("00080016", "UI", str(CTImageStorage)))
    kind = b"application/dicom+json\n"
    stored = b'multipart/related; type="application/dicom"; boundary=b1\n'
    part = b"--b1\r\nContent-Type: application/dicom\r\n\r\n" + image
    return {
        "all": kind + json.dumps([study | series | one]).encode(),
        "several": kind + json.dumps([study, study | {"0020000D": {"vr": "UI"}}]).encode(),
        "series": kind + json.dumps([series, series | one]).encode(),
        "name": kind + json.dumps([{"00100010": {"vr": "PN", "Value": [{}, None]}}]).encode(),
        "images": stored + part + b"\r\n--b1--\r\n",
    }


def _json(*elements: tuple[str, str, str | int]) -> dict[str, Any]:
    return {tag: {"vr": vr, "Value": [value]} for tag, vr, value in elements}


def directories() -> Named:
    """Return DICOMDIRs that list the files of a small medium, and what is none of it."""
    inside = [("DICOM", f"IM{number:06}") for number in (1, 2, 3)]
    strange = [("..", "OUTSIDE"), ("LINK",), ("", "etc", "passwd"), ("dicom", "im000002.;1")]
    return {
        "whole": _directory(*inside),
        "strange": _directory(*strange, inside[0]),
        "implicit": _directory(*inside, syntax=ImplicitVRLittleEndian),
    }


def _directory(*places: tuple[str, ...], syntax: str = ExplicitVRLittleEndian) -> bytes:
    ds = Dataset()
    ds.FileSetID = "FUZZ"
    with disable_value_validation():  # some places are no names of DICOM
        ds.DirectoryRecordSequence = [
            item(DirectoryRecordType="IMAGE", ReferencedFileID=list(place)) for place in places
        ]
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    ds.file_meta.MediaStorageSOPInstanceUID = uid("directory")
    ds.file_meta.TransferSyntaxUID = syntax
    with BytesIO() as out:
        dcmwrite(out, ds, enforce_file_format=True)
        return out.getvalue()


@cache
def settings_files() -> Named:
    """Return settings files."""
    site = """
data_dir = "/tmp/node"
[receive]
ae_title = "ICHNODE"
port = 11112
allowed_callers = ["CT1", "CT2@192.0.2.7"]
[[receive.callers]]
ae_title = "PACS"
may = ["find", "move", "get"]
[[deliver.destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 104
[[deliver.destinations]]
name = "hook"
how = "webhook"
webhook = {url = "https://a.example/x", secret_variable = "KEY"}
[[pull.sources]]
name = "web"
how = "web"
url = "https://a.example/web"
[coverage]
ask = ["web"]
"""
    return {"site": site.encode(), "defaults": as_toml(Settings(), whole=True).encode()}
