"""Valid inputs for each door, made of phantoms."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from io import BytesIO

from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from node.dicom.net.association import (
    AVAILABILITY_NOTIFICATION,
    COMMITMENT,
    COMMITMENT_INSTANCE,
    PROCEDURE_STEP,
    STUDY_ROOT,
    UNCOMPRESSED,
)
from node.dicom.net.message import HAS_DATASET, NO_DATASET, Command, Field, encode_command, us
from node.dicom.read.part10 import dataset_of
from tests.fuzz import bodies
from tests.support.associating import APPLICATION, MAXIMUM, NAMED, VERIFICATION, context, request
from tests.support.associating import item as pdu_item
from tests.support.builder import Scan, compressed, encoded, item, uid
from tests.support.committing import told, wanted

SCAN = Scan(rows=16, columns=16, spacing_mm=(14.0, 12.5), gaps_mm=(10.0,) * 13, thickness_mm=10.0)
"""14 slices of 600 bytes with air, skull and brain."""

FIND, MOVE, GET = STUDY_ROOT
_CONTEXTS = {1: CTImageStorage, 3: VERIFICATION, 5: PROCEDURE_STEP, 7: AVAILABILITY_NOTIFICATION}
_CONTEXTS |= {9: FIND, 11: MOVE, 13: GET, 15: COMMITMENT}
RELEASE = struct.pack(">BxLxxxx", 5, 4)


def edited(images: Sequence[bytes], data: bytes) -> list[bytes]:
    """Return the files of a series with their elements edited.

    Parameters
    ----------
    data
        Lines of a number, a keyword and a value in bytes, separated by blanks. The value is set in
        the image of that number, modulo their count; number "*" means all images.
    """
    elements = [_elements(image) for image in images]
    for line in data.split(b"\n"):
        number, keyword, value = [*line.split(b" ", 2), b"", b""][:3]
        tag = tag_for_keyword(keyword.decode("latin-1"))
        if tag is None:
            continue
        at = int(number) % len(images) if number.isdigit() else slice(None)
        for one in elements[at] if isinstance(at, slice) else [elements[at]]:
            one[tag] = (dictionary_VR(tag)[:2], value + b" " * (len(value) % 2))
    return [
        image[: -len(dataset_of(image))] + b"".join(_encoded(*each) for each in sorted(one.items()))
        for image, one in zip(images, elements, strict=True)
    ]


def _elements(image: bytes) -> dict[int, tuple[str, bytes]]:
    """Return VR and value of each element of an Explicit VR Little Endian file, by tag."""
    found = dcmread(BytesIO(image)).values()
    return {int(each.tag): (str(each.VR), _bytes(each.value)) for each in found}


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value or "").encode()


def _encoded(tag: int, said: tuple[str, bytes]) -> bytes:
    vr, value = said
    long = vr in ("OB", "OW", "SQ", "UN", "UT")
    layout = "<HH2sxxL" if long else "<HH2sH"
    return struct.pack(layout, tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def files() -> dict[str, bytes]:
    """Return Part 10 files in several syntaxes, classic and enhanced."""
    ds = SCAN.build()[6]
    enhanced = SCAN(gaps_mm=(10.0,) * 2).enhanced()
    found = {
        "explicit": encoded(ds),
        "implicit": encoded(ds, ImplicitVRLittleEndian),
        "enhanced": encoded(enhanced),
        "bare": dataset_of(encoded(ds)),
        "unsigned12": encoded(SCAN(signed=False, bits_stored=12).build()[6]),
    }
    swapped = deepcopy(ds)
    swapped.PixelData = b"".join(
        swapped.PixelData[i + 1 : i + 2] + swapped.PixelData[i : i + 1]
        for i in range(0, len(swapped.PixelData), 2)
    )
    found["big_endian"] = encoded(swapped, ExplicitVRBigEndian)
    found["rle"] = compressed(ds, RLELossless)
    found["jpegls"] = compressed(ds, JPEGLSLossless)
    found["j2k"] = compressed(SCAN(rows=48, columns=48).build()[6], JPEG2000Lossless)
    return found


def messages() -> dict[str, bytes]:
    """Return data sets of N-CREATE, N-SET and C-FIND in one byte's choice of reader and syntax."""
    image = item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID="1.2.3")
    series = item(SeriesInstanceUID=uid("series"), ReferencedImageSequence=[image])
    told = item(SeriesInstanceUID=uid("series"), ReferencedSOPSequence=[image])
    sets = {
        0: item(
            PerformedProcedureStepStatus="IN PROGRESS",
            Modality="CT",
            ScheduledStepAttributesSequence=[item(StudyInstanceUID=uid("study"))],
            PerformedSeriesSequence=[],
        ),
        1: item(PerformedProcedureStepStatus="COMPLETED", PerformedSeriesSequence=[series]),
        2: item(StudyInstanceUID=uid("study"), ReferencedSeriesSequence=[told]),
        3: item(
            QueryRetrieveLevel="STUDY", PatientID="P*", StudyDate="20260101-", StudyInstanceUID=""
        ),
    }
    return {
        f"{number}_{place}": bytes([number + 4 * place]) + _bare(ds, syntax)
        for number, ds in sets.items()
        for place, syntax in enumerate(UNCOMPRESSED)
    }


def commitments() -> dict[str, bytes]:
    """Return Action and Event Information in one byte's choice of reader and syntax."""
    objects = [(CTImageStorage, str(SCAN.build()[6].SOPInstanceUID)), (CTImageStorage, "1.2.3")]
    sets = (
        wanted(uid("transaction"), objects),
        told(uid("transaction"), objects[:1], objects[1:]),
    )
    return {
        f"{number}_{place}": bytes([number + 2 * place]) + _bare(ds, syntax)
        for number, ds in enumerate(sets)
        for place, syntax in enumerate(UNCOMPRESSED)
    }


def _bare(ds: Dataset, syntax: str) -> bytes:
    with DicomBytesIO() as file:
        file.is_implicit_VR = syntax == ImplicitVRLittleEndian
        file.is_little_endian = syntax != ExplicitVRBigEndian
        write_dataset(file, ds)
        return bytes(file.getvalue())


def opening(*sub_items: bytes, syntaxes: Iterable[str] = (ImplicitVRLittleEndian,)) -> bytes:
    """Return an A-ASSOCIATE-RQ for every service of the node."""
    proposed = (context(number, kind, *syntaxes) for number, kind in _CONTEXTS.items())
    user = pdu_item(0x50, MAXIMUM + NAMED + b"".join(sub_items))
    return request(APPLICATION, *proposed, user)


def message(
    number: int, command: int, dataset: bytes = b"", step: int = 4096, **more: bytes
) -> bytes:
    """Return the P-DATA-TF PDUs of a request under a context."""
    fields = {
        Field.AFFECTED_SOP_CLASS_UID: _CONTEXTS[number].encode(),
        Field.COMMAND_FIELD: us(command),
        Field.MESSAGE_ID: us(7),
        Field.COMMAND_DATA_SET_TYPE: us(HAS_DATASET if dataset else NO_DATASET),
        **{Field[name]: value for name, value in more.items()},
    }
    pdus = [_pdu(number, 3, encode_command(fields))]
    for start in range(0, len(dataset), step):
        last = 2 if start + step >= len(dataset) else 0
        pdus.append(_pdu(number, last, dataset[start : start + step]))
    return b"".join(pdus)


def _pdu(number: int, control: int, value: bytes) -> bytes:
    pdv = struct.pack(">LBB", len(value) + 2, number, control) + value
    return struct.pack(">BxL", 4, len(pdv)) + pdv


def streams() -> dict[str, bytes]:
    """Return what peers say from the association request to its release."""
    ds = SCAN.build()[6]
    told = messages()
    instance = {"AFFECTED_SOP_INSTANCE_UID": str(ds.SOPInstanceUID).encode()}
    step = {"AFFECTED_SOP_INSTANCE_UID": b"1.2.3"}
    requested = {"REQUESTED_SOP_CLASS_UID": PROCEDURE_STEP.encode()}
    requested |= {"REQUESTED_SOP_INSTANCE_UID": b"1.2.3"}
    keep = {"REQUESTED_SOP_CLASS_UID": COMMITMENT.encode(), "ACTION_TYPE_ID": us(1)}
    keep |= {"REQUESTED_SOP_INSTANCE_UID": COMMITMENT_INSTANCE.encode()}
    kept = {"AFFECTED_SOP_INSTANCE_UID": COMMITMENT_INSTANCE.encode(), "EVENT_TYPE_ID": us(2)}
    promises = {name: each[1:] for name, each in commitments().items()}
    stored = _bare(ds, ImplicitVRLittleEndian)
    find = told["3_1"][1:]
    said: Mapping[str, tuple[bytes, ...]] = {
        "echo": (message(3, Command.C_ECHO_RQ),) * 2,
        "store": (message(1, Command.C_STORE_RQ, stored, **instance),),
        "store_pieces": (message(1, Command.C_STORE_RQ, stored, 128, **instance),),
        "step": (
            message(5, Command.N_CREATE_RQ, told["0_1"][1:], **step),
            message(5, Command.N_SET_RQ, told["1_1"][1:], **requested),
        ),
        "available": (message(7, Command.N_CREATE_RQ, told["2_1"][1:], **step),),
        "find": (message(9, Command.C_FIND_RQ, find), message(9, Command.C_CANCEL_RQ)),
        "move": (message(11, Command.C_MOVE_RQ, find, MOVE_DESTINATION=b"PEER"),),
        "get": (message(13, Command.C_GET_RQ, find),),
        "keep": (message(15, Command.N_ACTION_RQ, promises["0_1"], **keep),),
        "kept": (message(15, Command.N_EVENT_REPORT_RQ, promises["1_1"], **kept),),
    }
    role = CTImageStorage.encode()
    roles = pdu_item(0x54, struct.pack(">H", len(role)) + role + b"\1\1")
    return {name: b"".join((opening(roles), *each, RELEASE)) for name, each in said.items()} | {
        "explicit": opening(syntaxes=[ExplicitVRLittleEndian]) + RELEASE
    }


SERIES = {
    "plain": b"",
    "moved": b"3 ImagePositionPatient -93.75\\-105\\-40.5\n* PixelSpacing 14\\12",
    "turned": b"* ImageOrientationPatient 1\\0\\0\\0\\0.9962\\0.0872\n5 SliceThickness 5",
    "values": b"2 RescaleSlope 2\n4 RescaleIntercept -1000\n6 BitsStored \x0c\x00",
}

SEEDS: Mapping[str, Mapping[str, bytes]] = {
    "pdus": streams(),
    "association": streams(),
    "header": files(),
    "archive": files(),
    "pixels": files(),
    "volume": SERIES,
    "report": SERIES,
    "attributes": messages(),
    "adt": bodies.messages_of_hl7(),
    "query": {
        "plain": b"PatientName=T*&StudyDate=20260101-20261231&limit=3&offset=1",
        "fields": b"StudyInstanceUID=1.2,1.3&includefield=all&00080060=CT&fuzzymatching=false",
    },
    "commitment": commitments(),
    "mllp": {
        "one": bodies.framed(bodies.messages_of_hl7()["A40"]),
        "two": bodies.framed(*bodies.messages_of_hl7().values()),
    },
    "acknowledgement": bodies.acknowledgements(),
    "webhook": bodies.answers_of_a_web_server(),
    "mail": bodies.replies_of_a_mail_server(),
    "stow": bodies.posts(files()),
    "web": bodies.answers_of_an_archive(files()["explicit"]),
    "medium": bodies.directories(),
    "settings": bodies.settings_files(),
}
"""By door and name."""
