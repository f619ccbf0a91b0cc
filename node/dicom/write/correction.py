"""The patient of a report, where the patient index says that the images name another one."""

import unicodedata

from pydicom.dataset import Dataset

from node.announced import Corrected
from node.wording import ascii_text

OF_THE_OLD = (
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "PatientBirthTime",
    "PatientAge",
    "PatientComments",
)
"""What says more of the patient that the images name; it may be wrong of the other one."""


def corrected(ds: Dataset, by: Corrected | None) -> Dataset:
    """Return the data set of an image with the patient whose it is; the file stays as it is.

    A name is written without accents, in ASCII, which every SpecificCharacterSet contains.
    """
    if by is None:
        return ds
    for keyword in OF_THE_OLD:
        ds.pop(keyword, None)
    ds.PatientID, ds.PatientBirthDate = ascii_text(by.patient_id), by.birth_date
    if by.name is not None:
        ds.PatientName = _plain(by.name)
    if by.sex:
        ds.PatientSex = by.sex
    return ds


def _plain(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name)
    return ascii_text("".join(one for one in letters if not unicodedata.combining(one)))
