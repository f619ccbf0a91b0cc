"""What made images, in words that name nobody."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom import DataElement, Dataset

from node.dicom.read.elements import text
from node.dicom.read.header import DAMAGE, open_object
from node.errors import BadObject

MADE_BY = ("Manufacturer", "ManufacturerModelName", "ConvolutionKernel")
LONGEST = 64
SHORTEST = 3
"""Shorter names and numbers stand in too many words by chance."""

NUMBERS = (
    *("PatientID", "OtherPatientIDs", "PatientBirthDate", "AccessionNumber", "StudyID"),
    *("AdmissionID", "InstitutionName", "InstitutionAddress", "StationName", "DeviceSerialNumber"),
)
"""Attributes that tell whose images are, or where they were made; beside all names of persons."""

_PLAIN = re.compile(r"[\w .,/+()-]*", re.ASCII)
_NAMES = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Makers:
    """What an image says of its origin.

    Attributes
    ----------
    manufacturer, model, kernel
        What made it; "" where it is not said, or a person, a number or a place of the header stands
        in it.
    lossy
        Whether it was compressed with losses.
    """

    manufacturer: str
    model: str
    kernel: str
    lossy: bool


def makers(path: Path) -> Makers:
    """Return what the header of a file says of its origin.

    Raises
    ------
    BadObject
        If its header is damaged.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        ds = open_object(file, pixels=False).ds
    lossy = text(ds, "LossyImageCompression") == "01"
    try:
        manufacturer, model, kernel = (made_by(ds, keyword) for keyword in MADE_BY)
    except DAMAGE as error:
        raise BadObject(f"an element of the header is damaged ({error})") from error
    return Makers(manufacturer, model, kernel, lossy)


def made_by(ds: Dataset, keyword: str) -> str:
    """Return what a header says in this attribute, "" where a person, a number or a place is in it.

    Technicians write into what should be a scanner's own: a kernel that holds the patient's name is
    not handed on. This attribute must not have been converted yet.
    """
    word = text(ds, keyword)[:LONGEST]
    if not _PLAIN.fullmatch(word):
        return ""
    within = word.casefold()
    named = any(each in within for each in _identifying(ds.iterall()) if len(each) >= SHORTEST)
    return "" if named else word


def identifying(ds: Dataset) -> frozenset[str]:
    """Return what identifies somebody or some place in a header, in small letters.

    The parts of all names, and all numbers and places, but those that are shorter than `SHORTEST`.
    A damaged element says nothing. Elements are converted.
    """
    return frozenset(each for each in _identifying(_sound(ds)) if len(each) >= SHORTEST)


def unnamed(words: str, identifying: Iterable[str]) -> str:
    """Return words with a "…" in the place of whatever identifies somebody in them.

    Parameters
    ----------
    identifying
        In small letters, as `identifying` returns it.
    """
    known = sorted(filter(None, identifying), key=len, reverse=True)
    if not known:
        return words
    return re.sub("|".join(map(re.escape, known)), "…", words, flags=re.IGNORECASE)


def _sound(ds: Dataset) -> Iterator[DataElement]:
    """Yield the elements of a header and of its sequences, but those that are damaged."""
    for tag in list(ds.keys()):
        try:
            element = ds[tag]
            items = list(element.value) if element.VR == "SQ" else []
        except DAMAGE:
            continue
        yield element
        for item in items:
            yield from _sound(item)


def _identifying(elements: Iterable[DataElement]) -> Iterator[str]:
    """Yield the parts of all names, and all numbers and places, in small letters."""
    for element in elements:
        if element.VR == "PN":
            for name in _values(element):
                yield from _NAMES.findall(name)
        elif element.keyword in NUMBERS:
            yield from _values(element)


def _values(element: DataElement) -> Iterator[str]:
    values = element.value if element.VM > 1 else (element.value,)
    yield from (str(value).strip().casefold() for value in values)
