"""Whether the instances of a series name one patient and one request.

PatientID and birth date must be the same to the character, and an absent one is a value like any
other. The others may be absent in some instances, and a name may be written in several ways.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from node.dicom.read.elements import text, unconverted
from node.identity import same_name

Values = list[tuple[bytes, Dataset]]
"""The different values of an attribute as they were sent, each with a data set that has it."""


def sent(header: Dataset, keyword: str) -> bytes:
    """Return the bytes of an element as they were sent; b"" if it is absent or empty."""
    element: Any = unconverted(header, keyword)
    if isinstance(element, RawDataElement):
        return element.value or b""
    return b"" if element is None or element.is_empty else str(element.value).encode()


def disagreements(datasets: Sequence[Dataset]) -> list[str]:
    """Return the keywords of `MUST_AGREE` on which the instances differ, in its order."""
    found = []
    for keyword, alike in MUST_AGREE.items():
        values = {sent(ds, keyword).strip(b"\0 "): ds for ds in reversed(datasets)}
        if len(values) > 1 and not alike(keyword, list(values.items())):
            found.append(keyword)
    return found


def fullest(datasets: Sequence[Dataset], keywords: Sequence[str]) -> Dataset:
    """Return the instance that states most of these attributes, with the others' values put in.

    Text goes from one instance to another only if it means the same there.
    """
    best = max(datasets, key=lambda ds: sum(bool(sent(ds, keyword)) for keyword in keywords))
    for keyword in keywords:
        giver = next((ds for ds in datasets if sent(ds, keyword)), None)
        if giver is None or sent(best, keyword):
            continue
        charsets = {sent(ds, "SpecificCharacterSet") for ds in (best, giver)}
        if sent(giver, keyword).isascii() or len(charsets) == 1:
            best[Tag(keyword)] = giver.get_item(keyword)
    return best


def _same(keyword: str, values: Values) -> bool:
    """Return whether the values are the same text, whatever its encoding."""
    return len({text(ds, keyword) for _, ds in values}) == 1


def _same_where_stated(keyword: str, values: Values) -> bool:
    """Return whether the values are the same text but for case, leaving out absent ones."""
    return len({text(ds, keyword).casefold() for value, ds in values if value}) == 1


def _same_person(keyword: str, values: Values) -> bool:
    """Return whether the names may be spellings of one, leaving out absent ones."""
    readings = [_readings(text(ds, keyword), value) for value, ds in values if value]
    return all(
        any(same_name(one, other) for one in mine for other in theirs)
        for mine, theirs in combinations(readings, 2)
    )


def _readings(declared: str, value: bytes) -> set[str]:
    """Return what a name may say: character sets are often undeclared, or declared wrongly."""
    found = {declared, value.decode("latin-1")}
    with suppress(UnicodeDecodeError):
        found.add(value.decode())
    return found


MUST_AGREE: Mapping[str, Callable[[str, Values], bool]] = {
    "PatientID": _same,
    "IssuerOfPatientID": _same_where_stated,
    "PatientName": _same_person,
    "PatientBirthDate": _same,
    "PatientSex": _same_where_stated,
    "AccessionNumber": _same_where_stated,
}
"""Patient and request: by keyword, whether different bytes mean the same.

Nothing is written unless all instances of the series agree on all of them.
"""
