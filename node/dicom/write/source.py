"""The objects that a report speaks of, and what it inherits from them: patient, study, scanner."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.uid import (
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
)
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

from models.findings import Findings
from node.dicom.read.header import OpenObject, open_object
from node.dicom.write import codes
from node.dicom.write.uids import derived_uid
from node.errors import Permanent, Retryable
from node.identity import disagreeing
from node.records import Header, SeriesPlan, SliceRef
from node.wording import RESEARCH_USE_ONLY

VERSION = version("ichnode")

SERIES_NUMBERS = {"seg": 9901, "sr": 9902, "capture": 9903}
"""Each object goes into a series of its own, far above what scanners count to (chosen)."""

MULTI_FRAME = frozenset({EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})

MUST_AGREE = (
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
)
"""Who and what was scanned: the same in every instance of the series, or nothing is written."""

# PS3.3 C.7.1.1, C.7.1.3, C.7.2.1, C.7.2.2 and C.7.2.3
INHERITED = (
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "QualityControlSubject",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "EthnicGroup",
    "PatientComments",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "StudyDescription",
    "ProcedureCodeSequence",
    "PhysiciansOfRecord",
    "ReferencedStudySequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "AdmittingDiagnosesDescription",
    "AdditionalPatientHistory",
)
REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
"""Type 2: written empty where the source has none."""

SCANNER = (
    "Manufacturer",
    "InstitutionName",
    "StationName",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
)


@dataclass(frozen=True, slots=True)
class Source:
    """The series that was planned, as it lies on disk.

    Attributes
    ----------
    plan
        Its slices in the order of the mask; in a series not analysed, all that is there.
    headers
        What each instance says of itself, by SOPInstanceUID, in the order of the plan.
    first
        The first instance's data set without pixels: what a report inherits from.
    """

    plan: SeriesPlan
    headers: Mapping[str, Header]
    first: Dataset

    def in_frames(self, ref: SliceRef) -> bool:
        """Whether the slice is a frame of a multi-frame object and referred to by number."""
        return self.headers[ref.sop_instance_uid].sop_class_uid in MULTI_FRAME

    def uid(self, *words: str) -> str:
        """Return the UID that these words have in a report on just these instances.

        Late images need not be among them (a copy of a slice is not read); so a report that
        replaces an earlier one takes that one's UID in.
        """
        older = (self.plan.replaces.sop_instance_uid,) if self.plan.replaces else ()
        return derived_uid(self.plan.study_instance_uid, *self.headers, VERSION, *older, *words)


@dataclass(frozen=True, slots=True)
class Algorithm:
    """The weights that made a result: bundle name and version, sha256 of the weights."""

    name: str
    version: str
    weights_sha256: str

    @classmethod
    def of(cls, findings: Findings) -> Self:
        """Return the algorithm that made these findings."""
        name, _, number = findings.bundle.partition("@")
        return cls(name, number or "unknown", findings.weights_sha256)


@dataclass(frozen=True, slots=True)
class Imprint:
    """What makes an object ours.

    Attributes
    ----------
    kind
        Which of the report's objects it is: "seg", "sr" or "capture".
    title
        Begin of the series description, before the research-use notice.
    when
        When the series was read; with an offset from UTC.
    reader
        Name, version and digest of the weights that read the series; None if it was not read.
    reason_code
        Why it was not read.
    content
        What tells this result from another of the same reader on the same series, as a digest of
        its findings does.
    """

    kind: str
    title: str
    when: datetime
    detector: Algorithm | None = None
    reason_code: str = ""
    content: str = ""

    def uid(self, source: Source, *words: str) -> str:
        """Return the UID of one of the object's identifiers, such as its series or a finding.

        Everything that the objects say is in it: the same UID always stands for the same bytes.
        """
        by = astuple(self.detector) if self.detector else ("not analysed", self.reason_code)
        made = (self.when.isoformat(), self.content)
        return source.uid(*by, *made, self.kind, *words)


def read_source(plan: SeriesPlan, root: Path) -> Source:
    """Read the header of each planned instance, and make sure that all are of one patient.

    Raises
    ------
    Permanent
        If an instance is on disk no more, is not the planned one, or names another patient, study
        or series than the rest. Then no object may be written: no identity would be right.
    Retryable
        If the disk fails.
    """
    if not plan.slices:
        raise Permanent(f"series {plan.series_instance_uid}: the plan names no instance")
    headers: dict[str, Header] = {}
    datasets: list[Dataset] = []
    for ref in plan.slices:
        if ref.sop_instance_uid not in headers:
            opened = _read(root / ref.path)
            _require_planned(plan, ref, opened.header)
            headers[ref.sop_instance_uid] = opened.header
            datasets.append(opened.ds)
    _require_one_identity(plan, datasets)
    return Source(plan, headers, datasets[0])


def _read(path: Path) -> OpenObject:
    try:
        with path.open("rb") as file:
            return open_object(file, pixels=False)
    except FileNotFoundError as error:
        raise Permanent(f"{path.name}: is on disk no more; send the series again") from error
    except OSError as error:
        raise Retryable(f"{path.name}: cannot be read now: {error.strerror}") from error


def _require_planned(plan: SeriesPlan, ref: SliceRef, header: Header) -> None:
    planned = (plan.study_instance_uid, plan.series_instance_uid, ref.sop_instance_uid)
    if (header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid) != planned:
        raise Permanent(f"{ref.path}: is not the planned instance {ref.sop_instance_uid}")


def _require_one_identity(plan: SeriesPlan, datasets: Sequence[Dataset]) -> None:
    said = [{name: _sent(ds, name).strip(b"\0 ") for name in MUST_AGREE} for ds in datasets]
    for keyword in disagreeing(*said):
        raise Permanent(
            f"series {plan.series_instance_uid}: its instances disagree about {keyword}; "
            "no report is written: correct the series at its source and send it again"
        )


def imprint(ds: Dataset, source: Source, mark: Imprint) -> None:
    """Give `ds` the patient and study of its source, and a series and equipment of our own.

    Patient, study and character set are copied as they were sent, whatever stood in `ds` before;
    empty attributes are not, as the standard forbids most of them to be.
    """
    for keyword in INHERITED:
        ds.pop(keyword, None)
        _copy(keyword, source.first, ds)
    for keyword in REQUIRED:
        if keyword not in ds:
            setattr(ds, keyword, "")
    if ds.get("PatientIdentityRemoved") == "YES" and "DeidentificationMethodCodeSequence" not in ds:
        ds.setdefault("DeidentificationMethod", "not stated by the source")  # type 1C
    ds.SOPInstanceUID = mark.uid(source)
    ds.SeriesInstanceUID = mark.uid(source, "series")
    ds.SeriesNumber = SERIES_NUMBERS[mark.kind]
    ds.SeriesDescription = f"{mark.title}: {RESEARCH_USE_ONLY}"
    ds.InstanceNumber = 1
    ds.Manufacturer = ds.ManufacturerModelName = "ichnode"
    ds.SoftwareVersions = VERSION
    if mark.detector:
        ds.SoftwareVersions = [VERSION, f"{mark.detector.name}@{mark.detector.version}"]
        ds.DeviceSerialNumber = mark.detector.weights_sha256
    ds.pop("ContributingEquipmentSequence", None)
    if _sent(source.first, "Manufacturer"):
        ds.ContributingEquipmentSequence = [_scanner(source.first)]
    when = local_time(mark.when, source.first)
    for prefix in ("InstanceCreation", "Content", "Series"):
        setattr(ds, f"{prefix}Date", f"{when:%Y%m%d}")
        setattr(ds, f"{prefix}Time", f"{when:%H%M%S.%f}")
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def local_time(when: datetime, header: Dataset) -> datetime:
    """Return `when` on the clock that the header's own dates and times were written by.

    That is its TimezoneOffsetFromUTC, or this machine's zone where the scanner names none: a time
    in UTC would be read as the hospital's time.
    """
    try:
        return when.astimezone(datetime.strptime(str(header.TimezoneOffsetFromUTC), "%z").tzinfo)
    except (AttributeError, ValueError):
        return when.astimezone()


def _scanner(header: Dataset) -> Dataset:
    """Return what acquired the source, as Contributing Equipment (PS3.3 C.12.1)."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [coded(codes.ACQUISITION_EQUIPMENT)]
    for keyword in SCANNER:
        _copy(keyword, header, item)
    return item


class _AsSent(bytes):
    """Text as it was sent, which a writer takes for text already encoded."""

    def encode(self, encodings: object = None) -> bytes:  # noqa: ARG002
        """Return the bytes: pydicom asks a person name for them."""
        return bytes(self)


def _copy(keyword: str, header: Dataset, ds: Dataset) -> None:
    """Copy an attribute that has a value; text byte for byte.

    Decoding and encoding again would alter a name whose character set is declared wrongly.
    """
    if not _sent(header, keyword):
        return
    tag = Tag(keyword)
    vr = dictionary_VR(tag)
    if vr in CUSTOMIZABLE_CHARSET_VR:
        ds[tag] = DataElement(tag, vr, _AsSent(_sent(header, keyword)), already_converted=True)
    else:
        ds[tag] = header[tag]


def _sent(header: Dataset, keyword: str) -> bytes:
    """Return the bytes of an element nobody has touched yet; b"" where it is absent or empty."""
    element: Any = header.get_item(keyword) if keyword in header else None
    if isinstance(element, RawDataElement):
        return element.value or b""
    return b"" if element is None or element.is_empty else str(element.value).encode()


def coded(code: Code) -> Dataset:
    """Return the code as an item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code[:3]
    return item


def references(source: Source) -> list[Dataset]:
    """Return one item of a Referenced SOP Sequence for each instance of the source."""
    items = []
    for uid, header in source.headers.items():
        item = Dataset()
        item.ReferencedSOPClassUID = header.sop_class_uid
        item.ReferencedSOPInstanceUID = uid
        items.append(item)
    return items
