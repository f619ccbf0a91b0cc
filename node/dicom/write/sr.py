"""The result as a structured report: TID 1500 "Measurement Report" (PS3.16) as Comprehensive 3D SR.

IHE's AI Results profile asks an evidence creator for Comprehensive 3D SR, which contains everything
that Comprehensive SR contains. The tree:

    Imaging Measurement Report
    ├── language, device observer, procedure reported
    ├── Image Library                        every instance that was analysed
    ├── Imaging Measurements
    │   ├── study (TID 1501)                 suspected or not, uncertain, priority, probability
    │   ├── subtype (TID 1501), each         probability
    │   ├── lesion (TID 1411)                segment, volume
    │   └── lesion on its key slice (1410)   box, the slice's probability
    └── Qualitative Evaluations              conclusion, uncertainty, research use, limitations

OHIF's viewer assumes that there are Imaging Measurements. So the report on a series that was not
analysed has a group too, which says that and no more.
"""

from collections.abc import Sequence

from highdicom.sr import (
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dictionary
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage

from models.findings import Findings
from node.dicom.write import codes, measurement_groups
from node.dicom.write.image_library import image_library
from node.dicom.write.source import Algorithm, Imprint, Source, imprint, references
from node.records import Predecessor
from node.wording import (
    NOT_ANALYSED,
    NOT_OUTLINED,
    RESEARCH_USE_ONLY,
    UNCERTAIN,
    ascii_text,
    replacement,
    verdict,
)

CONTAINS = RelationshipTypeValues.CONTAINS


def findings_report(
    source: Source, findings: Findings, mark: Imprint, segmentation: Dataset | None
) -> Dataset:
    """Return the report on a series that was analysed, ready to be saved.

    Parameters
    ----------
    source
        The analysed series.
    findings
        What the detector found in it.
    mark
        Kind, title and detector of the object.
    segmentation
        The segmentation that outlines the lesion; None if nothing is suspected or outlined.
    """
    detector = Algorithm.of(findings)
    groups: list[ContentSequence] = [measurement_groups.study(source, findings, mark)]
    for name, probability in findings.subtypes.items():
        groups.append(measurement_groups.subtype(source, mark, detector, name, probability))
    in_part = source.plan.in_part
    texts = [(codes.CONCLUSION, verdict(findings, in_part)), *_remarks(source)]
    if in_part:
        texts.insert(1, (codes.COMMENT, in_part))
    if findings.uncertain:
        texts.insert(1, (codes.COMMENT, f"{UNCERTAIN} ({findings.uncertainty:.2f})"))
    if segmentation is not None:
        groups.append(measurement_groups.lesion(source, findings, mark, segmentation))
        groups.append(measurement_groups.key_slice(source, findings, mark))
    elif findings.suspected:
        texts.append((codes.COMMENT, NOT_OUTLINED))
    ds = _document(source, mark, groups, [*texts, *_limitations(source)], segmentation)
    ds.CompletionFlag = "PARTIAL" if in_part else "COMPLETE"
    if in_part:
        ds.CompletionFlagDescription = "Read in part: this is not a negative result"
    return ds


def not_analysed_report(source: Source, mark: Imprint, reason: str) -> Dataset:
    """Return the report on a series that was not analysed, with the reason, ready to be saved.

    Of the series it needs only the UIDs and the identity.
    """
    group = measurement_groups.not_analysed(source, mark)
    texts = [
        (codes.CONCLUSION, f"{NOT_ANALYSED}. Reason: {reason} ({mark.reason_code})"),
        *_remarks(source),
    ]
    ds = _document(source, mark, [group], [*texts, *_limitations(source)], None)
    ds.CompletionFlag = "PARTIAL"
    ds.CompletionFlagDescription = "Not analysed: this is not a negative result"
    return ds


def _remarks(source: Source) -> list[tuple[Code, str]]:
    """Return the comments that follow every conclusion."""
    older = source.plan.replaces
    why = [(codes.COMMENT, replacement(older.later_images))] if older else []
    scans = [(codes.COMMENT, sentence) for sentence in source.plan.scans]
    return [*why, *scans, (codes.COMMENT, RESEARCH_USE_ONLY)]


def _limitations(source: Source) -> list[tuple[Code, str]]:
    return [(codes.COMMENT, f"Limitation: {text}") for text in source.plan.limitations]


def _document(
    source: Source,
    mark: Imprint,
    groups: Sequence[ContentSequence],
    texts: Sequence[tuple[Code, str]],
    segmentation: Dataset | None,
) -> Dataset:
    """Return the SR Document (PS3.3 A.35.13) with this content."""
    root = MeasurementReport(
        observation_context=ObservationContext(_observer(source, mark)),
        procedure_reported=codes.CT_OF_HEAD,
        imaging_measurements=groups,
        title=codes.MEASUREMENT_REPORT,
    )[0]
    measurements = root.ContentSequence.pop()
    root.ContentSequence.append(image_library(source))
    root.ContentSequence.append(measurements)
    root.ContentSequence.append(_texts(texts))
    ds = Dataset()
    ds.update(root)
    ds.SOPClassUID = Comprehensive3DSRStorage
    ds.Modality = "SR"
    imprint(ds, source, mark)
    ds.VerificationFlag = "UNVERIFIED"
    ds.PreliminaryFlag = "PRELIMINARY"
    ds.PerformedProcedureCodeSequence = []
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.CurrentRequestedProcedureEvidenceSequence = [_evidence(source, segmentation)]
    if older := source.plan.replaces:
        ds.PredecessorDocumentsSequence = [_predecessor(source, older)]
    return ds


def _evidence(source: Source, segmentation: Dataset | None) -> Dataset:
    """Return references to all instances in the content (PS3.3 C.17.2.3)."""
    study = Dataset()
    study.StudyInstanceUID = source.plan.study_instance_uid
    series = Dataset()
    series.SeriesInstanceUID = source.plan.series_instance_uid
    series.ReferencedSOPSequence = references(source)
    study.ReferencedSeriesSequence = [series]
    if segmentation is not None:
        uids = (segmentation.SeriesInstanceUID, segmentation.SOPClassUID)
        study.ReferencedSeriesSequence.append(_one(*uids, segmentation.SOPInstanceUID))
    return study


def _predecessor(source: Source, older: Predecessor) -> Dataset:
    """Return a reference to the report that this one replaces (PS3.3 C.17.2)."""
    study = Dataset()
    study.StudyInstanceUID = source.plan.study_instance_uid
    uids = (older.series_instance_uid, older.sop_class_uid, older.sop_instance_uid)
    study.ReferencedSeriesSequence = [_one(*uids)]
    return study


def _one(series_uid: str, sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """Return an item of a Referenced Series Sequence for a series of one instance."""
    series = Dataset()
    series.SeriesInstanceUID = series_uid
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    series.ReferencedSOPSequence = [item]
    return series


def _observer(source: Source, mark: Imprint) -> ObserverContext:
    return ObserverContext(
        observer_type=dictionary.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=mark.uid(source, "observer"),
            name="ichnode",
            manufacturer_name="ichnode",
            model_name="ichnode",
        ),
    )


def _texts(texts: Sequence[tuple[Code, str]]) -> ContainerContentItem:
    container = ContainerContentItem(codes.QUALITATIVE_EVALUATIONS, relationship_type=CONTAINS)
    container.ContentSequence = ContentSequence(
        [TextContentItem(name, ascii_text(text), CONTAINS) for name, text in texts]
    )
    return container
