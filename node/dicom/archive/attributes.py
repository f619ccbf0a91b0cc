"""The attributes of an object by which an archive is queried, read from its file."""

from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset

from node.dicom.archive.json_model import object_json
from node.dicom.read.elements import integer, short, text
from node.dicom.read.header import DAMAGE, OpenObject, open_object
from node.errors import BadObject
from node.records import Header

Text = dict[str, str]
Values = dict[str, str | int | None]

_STUDY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"),
    *("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyDescription"),
)
_SERIES = (
    *("Modality", "SeriesDescription", "BodyPartExamined", "ProtocolName"),
    *("SeriesDate", "SeriesTime"),
    *("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
)

LARGEST = (1 << 31) - 1
"""The largest value of an integer string (PS3.5 6.2)."""


class Described(NamedTuple):
    """An object's attributes, by level and DICOM keyword; "" and None where it has none.

    `metadata` is all of it as JSON (`node.dicom.archive.json_model.object_json`).
    """

    study: Text
    series: Values
    object: Values
    metadata: str


def read_attributes(path: Path) -> Described:
    """Return the attributes of an object; its pixels are not read.

    Raises
    ------
    BadObject, OSError
        If it is no DICOM object any more, or cannot be read.
    """
    with path.open("rb") as file:
        opened = open_object(file, pixels=False)
    try:
        return _described(opened)
    except DAMAGE as error:  # an element that no header needs
        raise BadObject(f"an element cannot be read ({error})") from error


def _described(opened: OpenObject) -> Described:
    ds, header = opened.ds, opened.header
    study = {"StudyInstanceUID": header.study_instance_uid, **_texts(ds, *_STUDY)}
    series: Values = {"SeriesInstanceUID": header.series_instance_uid}
    series |= {"StudyInstanceUID": header.study_instance_uid, **_texts(ds, *_SERIES)}
    series |= {"SeriesNumber": _number(ds, "SeriesNumber")}
    return Described(study, series, _of_object(ds, header), object_json(opened))


def _of_object(ds: Dataset, header: Header) -> Values:
    found: Values = {
        "SOPInstanceUID": header.sop_instance_uid,
        "SeriesInstanceUID": header.series_instance_uid,
        "SOPClassUID": header.sop_class_uid,
        "TransferSyntaxUID": header.transfer_syntax_uid,
        "InstanceNumber": _number(ds, "InstanceNumber"),
        "NumberOfFrames": _number(ds, "NumberOfFrames"),
    }
    return found | {name: short(ds, name) for name in ("Rows", "Columns", "BitsAllocated")}


def _texts(ds: Dataset, *keywords: str) -> Text:
    return {keyword: text(ds, keyword).replace("\0", "") for keyword in keywords}


def _number(ds: Dataset, keyword: str) -> int | None:
    found = integer(ds, keyword)
    return found if found is not None and abs(found) <= LARGEST else None
