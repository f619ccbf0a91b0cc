"""The identity of a file: its patient and its study, from the few elements that state them."""

from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO, cast

from pydicom.filereader import read_partial

from node.dicom.read.elements import text
from node.dicom.read.sparing import DAMAGE, Sparing
from node.errors import BadObject
from node.identity import Identity, PatientIdentity

_STUDY_INSTANCE_UID = 0x0020000D
_PATIENT_NAME = 0x00100010


def read_identity(path: Path) -> tuple[Identity, str]:
    """Return the identity in a DICOM file, and its SOPInstanceUID.

    Reading ends after these elements. Text is decoded as `node.dicom.read.header.read_header` does,
    so that the two identities can be compared.

    Raises
    ------
    BadObject
        If the file is not a DICOM file, or cannot be read.
    """
    keywords = ("StudyInstanceUID", "PatientID", "PatientBirthDate", "SOPInstanceUID")
    study, patient_id, birth_date, instance = _texts(path, _STUDY_INSTANCE_UID, *keywords)
    return Identity(study, PatientIdentity(patient_id, birth_date)), instance


def strange_in(path: Path, sop_instance_uid: str, sources: Collection[Identity]) -> list[str]:
    """Return the keywords in which a file is not this object of its sources' patient and study.

    The images of a result may have got another identity since it was made; and no file is believed
    to be what it was then.

    Raises
    ------
    BadObject
        As `read_identity`.
    """
    held, found = read_identity(path)
    return [*(["SOPInstanceUID"] if found != sop_instance_uid else []), *held.unlike(sources)]


def read_person_name(path: Path) -> str:
    """Return the PatientName in a DICOM file, "" if it has none.

    Raises
    ------
    BadObject
        As `read_identity`.
    """
    return _texts(path, _PATIENT_NAME, "PatientName")[0]


def _texts(path: Path, last: int, *keywords: str) -> list[str]:
    """Return elements of a file, which is read up to the tag `last`."""
    try:
        with path.open("rb") as file:
            sparing = cast(BinaryIO, Sparing(file))
            ds = read_partial(sparing, stop_when=lambda tag, _vr, _length: tag > last)
        return [text(ds, keyword) for keyword in keywords]
    except (*DAMAGE, OSError) as error:
        raise BadObject(f"{path.name} cannot be read: {error}") from error
