"""The series that a report is about, and what the report inherits: patient, study, scanner."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median, mode
from typing import Self

from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.sr.coding import Code
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
)
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

from models.findings import Findings
from node.dicom.read.elements import macros, number
from node.dicom.read.header import DAMAGE, OpenObject, open_object
from node.dicom.write import codes
from node.dicom.write.agreement import MUST_AGREE, disagreements, fullest, sent
from node.dicom.write.correction import corrected
from node.dicom.write.uids import derived_uid
from node.errors import Permanent, Retryable
from node.records import Header, SeriesPlan, SliceRef
from node.wording import series_description

VERSION = version("ichnode")

SERIES_NUMBERS = {
    **{"seg": 9901, "sr": 9902, "capture": 9903, "text": 9904},
    **{"gsps": 9905, "key": 9906, "rejection": 9907},
}
"""Each object has a series of its own, with a number far above those that scanners count to.

Each later result of a series adds 10. The numbers are an estimate; nothing was measured.
"""

MULTI_FRAME = frozenset({EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})

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
"""Type 2: written empty if the source has no value."""

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
        Its slices in the order of the mask; of a series not analysed, all that was received.
    headers
        The header of each instance, by SOPInstanceUID, in the order of the plan.
    first
        An instance's data set without pixels, from which a report inherits. What it does not say
        of patient and request comes from the others.
    rescale
        Slope and intercept from stored values to HU, None if frames differ in them or lack them.
    """

    plan: SeriesPlan
    headers: Mapping[str, Header]
    first: Dataset
    rescale: tuple[float, float] | None = None

    def in_frames(self, ref: SliceRef) -> bool:
        """Whether the slice is a frame of a multi-frame object, and references need its number."""
        return self.headers[ref.sop_instance_uid].sop_class_uid in MULTI_FRAME

    @property
    def frame_of_reference_uid(self) -> str:
        """The first FrameOfReferenceUID that an image states; "" if none does."""
        return next(filter(None, (h.frame_of_reference_uid for h in self.headers.values())), "")

    @property
    def slice_thickness_mm(self) -> float | None:
        """The SliceThickness of most images, else the median distance between slices, mm.

        None if both are unknown.
        """
        if stated := [h.slice_thickness_mm for h in self.headers.values() if h.slice_thickness_mm]:
            return mode(stated)
        placed = [ref.location_mm for ref in self.plan.slices if ref.location_mm is not None]
        gaps = [abs(above - below) for below, above in pairwise(placed)]
        return round(median(gaps), 3) if gaps else None

    def uid(self, *words: str) -> str:
        """Return the UID of these words in a report on exactly these instances.

        The instances may be those of an earlier report, since a late image may be a copy, which is
        not planned. So the UID of the report that is replaced goes in too.
        """
        older = (self.plan.replaces.sop_instance_uid,) if self.plan.replaces else ()
        whose = map(str, astuple(self.plan.corrected)) if self.plan.corrected else ()
        others = (*older, *whose, *self.plan.scans, *filter(None, (self.plan.in_part,)))
        return derived_uid(self.plan.study_instance_uid, *self.headers, VERSION, *others, *words)


@dataclass(frozen=True, slots=True)
class Algorithm:
    """The detector that made a result: bundle name and version, sha256 of the weights."""

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
    """What distinguishes an object of ours from its source.

    Attributes
    ----------
    kind
        Which of the report's objects it is: a key of `SERIES_NUMBERS`.
    title
        Beginning of the series description: the result, as `node.wording.headline` words it.
    when
        When the series was analysed, or refused; with an offset from UTC.
    detector
        What analysed the series; None if it was not analysed.
    reason_code
        Why it was not analysed.
    content
        What distinguishes this result from another of the same detector on the same series, such
        as a digest of its findings.
    """

    kind: str
    title: str
    when: datetime
    detector: Algorithm | None = None
    reason_code: str = ""
    content: str = ""

    def uid(self, source: Source, *words: str) -> str:
        """Return the UID of the object itself, or of what the words name: its series, a finding.

        The UID depends on all content of the objects, so that one UID always means the same bytes.
        """
        by = astuple(self.detector) if self.detector else ("not analysed", self.reason_code)
        made = (self.when.isoformat(), self.content)
        return source.uid(*by, *made, self.kind, *words)


def read_source(plan: SeriesPlan, root: Path) -> Source:
    """Return the planned series, after a check that all its instances are of one patient.

    Raises
    ------
    Permanent
        If an instance is no longer on disk, is not the planned one, or names another patient, study
        or series than the others. Then no object may be written, since any identity may be wrong.
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
            datasets.append(corrected(opened.ds, plan.corrected))
    _require_one_identity(plan, datasets)
    return Source(
        plan, headers, fullest(datasets, (*MUST_AGREE, *REQUIRED)), _common_rescale(datasets)
    )


def source_by_report(
    plan: SeriesPlan, headers: Mapping[str, Header], report: Path
) -> Source | None:
    """Return the planned series, which was purged, by the identity that a report on it inherited.

    Parameters
    ----------
    headers
        Of its instances, as `Source.headers`.

    Returns
    -------
    Source or None
        None if the report is not there, or is no DICOM file.
    """
    try:
        ds = dcmread(report)
    except (OSError, InvalidDicomError):
        return None
    for keyword in SCANNER:  # it names the node
        ds.pop(keyword, None)
    return Source(plan, headers, corrected(ds, plan.corrected))


def _common_rescale(datasets: Sequence[Dataset]) -> tuple[float, float] | None:
    """Return the slope and intercept that all frames have (PS3.3 C.11.1); None if they differ."""
    found = {
        (number(group, "RescaleSlope"), number(group, "RescaleIntercept"))
        for ds in datasets
        for group in macros(ds, "PixelValueTransformationSequence")
    }
    (slope, intercept), *others = found or {(None, None)}
    return None if others or not slope or intercept is None else (slope, intercept)


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
    for keyword in disagreements(datasets):
        raise Permanent(
            f"series {plan.series_instance_uid}: its instances disagree about {keyword}; "
            "no report is written: correct the series at its source and send it again"
        )


def imprint(ds: Dataset, source: Source, mark: Imprint) -> None:
    """Give `ds` the patient and study of its source, and a series and equipment of our own.

    Patient, study and character set are copied as they were sent, in place of those in `ds`. Empty
    attributes are left out, since the standard forbids most of them to be empty.
    """
    for keyword in INHERITED:
        ds.pop(keyword, None)
        copy_attribute(keyword, source.first, ds)
    for keyword in REQUIRED:
        if keyword not in ds:
            setattr(ds, keyword, "")
    if ds.get("PatientIdentityRemoved") == "YES" and "DeidentificationMethodCodeSequence" not in ds:
        ds.setdefault("DeidentificationMethod", "not stated by the source")  # type 1C
    ds.SOPInstanceUID = mark.uid(source)
    ds.SeriesInstanceUID = mark.uid(source, "series")
    older = source.plan.replaces
    ds.SeriesNumber = SERIES_NUMBERS[mark.kind] + (10 * older.ordinal if older else 0)
    ds.SeriesDescription = series_description(mark.title, replaces=older is not None)
    ds.InstanceNumber = 1
    ds.Manufacturer = ds.ManufacturerModelName = "ichnode"
    ds.SoftwareVersions = VERSION
    if mark.detector:
        ds.SoftwareVersions = [VERSION, f"{mark.detector.name}@{mark.detector.version}"]
        ds.DeviceSerialNumber = mark.detector.weights_sha256
    ds.pop("ContributingEquipmentSequence", None)
    if sent(source.first, "Manufacturer"):
        ds.ContributingEquipmentSequence = [_scanner(source.first)]
    when = local_time(mark.when, source.first)
    for prefix in ("InstanceCreation", "Content", "Series"):
        setattr(ds, f"{prefix}Date", f"{when:%Y%m%d}")
        setattr(ds, f"{prefix}Time", f"{when:%H%M%S.%f}")
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def local_time(when: datetime, header: Dataset) -> datetime:
    """Return `when` in the time zone of the header's own dates and times.

    That is its TimezoneOffsetFromUTC, or this machine's zone if the scanner states none. A time in
    UTC would be taken for the hospital's time.
    """
    try:
        return when.astimezone(datetime.strptime(str(header.TimezoneOffsetFromUTC), "%z").tzinfo)
    except (AttributeError, ValueError):
        return when.astimezone()


def _scanner(header: Dataset) -> Dataset:
    """Return the scanner of the source as Contributing Equipment (PS3.3 C.12.1)."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [coded(codes.ACQUISITION_EQUIPMENT)]
    for keyword in SCANNER:
        copy_attribute(keyword, header, item)
    return item


class _AsSent(bytes):
    """Text as it was sent, which a writer takes for encoded text."""

    def encode(self, encodings: object = None) -> bytes:  # noqa: ARG002
        """Return the bytes; pydicom calls this for a person name."""
        return bytes(self)


def copy_attribute(keyword: str, header: Dataset, ds: Dataset) -> None:
    """Copy an attribute if it has a value that can be understood; text byte for byte.

    To decode and encode text would alter a name whose character set is declared wrongly.
    """
    if not sent(header, keyword):
        return
    tag = Tag(keyword)
    vr = dictionary_VR(tag)
    if vr in CUSTOMIZABLE_CHARSET_VR:
        ds[tag] = DataElement(tag, vr, _AsSent(sent(header, keyword)), already_converted=True)
    elif element := _understood(header, tag, vr):
        ds[tag] = element


def _understood(header: Dataset, tag: BaseTag, vr: str) -> DataElement | None:
    """Return an element of numbers, codes or items; None if its bytes are not that."""
    try:
        element = header[tag]
    except (OSError, *DAMAGE):
        return None
    return element if vr == "SQ" or str(element.value).isascii() else None


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
