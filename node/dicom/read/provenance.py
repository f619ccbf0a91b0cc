"""Where an object comes from: its scanner, its day, and the place that ordered it."""

from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from node.dicom.read.elements import text
from node.dicom.read.makers import identifying

_PLACES = (
    *("RequestingService", "CurrentPatientLocation", "InstitutionalDepartmentName"),
    *("AdmittingDiagnosesDescription", "PatientInstitutionResidence"),
)
"""Attributes whose words may name the place of the order; few headers have any."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What one object says of where it comes from; text is "" where it does not say.

    Attributes carry the values of the DICOM attributes of the same name.
    """

    study_date: str = ""
    manufacturer: str = ""
    manufacturer_model_name: str = ""
    software_versions: str = ""
    station_name: str = ""
    issuer_of_patient_id: str = ""
    patient_sex: str = ""
    places: tuple[str, ...] = ()
    """The words of the attributes that may name the place of the order."""
    identifying: frozenset[str] = frozenset()
    """What identifies somebody in the header, in small letters; see `makers.unnamed`."""


def provenance(ds: Dataset) -> Provenance:
    """Return where an object comes from; its elements must not have been converted yet."""
    said = Provenance(
        study_date=text(ds, "StudyDate"),
        manufacturer=text(ds, "Manufacturer"),
        manufacturer_model_name=text(ds, "ManufacturerModelName"),
        software_versions=text(ds, "SoftwareVersions"),
        station_name=text(ds, "StationName"),
        issuer_of_patient_id=text(ds, "IssuerOfPatientID"),
        patient_sex=text(ds, "PatientSex"),
        places=tuple(filter(None, (text(ds, keyword) for keyword in _PLACES))),
    )
    return replace(said, identifying=identifying(ds))
