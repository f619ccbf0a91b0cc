"""The result as a structured report: TID 1500 "Measurement Report" (PS3.16) as Comprehensive 3D SR.

Comprehensive 3D SR is what IHE's AI Results profile asks of an evidence creator; it holds all that
Comprehensive SR holds. The tree:

    Imaging Measurement Report
    ├── language, device observer, procedure reported
    ├── Image Library                        every instance that was read
    ├── Imaging Measurements
    │   ├── study (TID 1501)                 suspected or not, uncertain, priority, probability
    │   ├── subtype (TID 1501), each         probability
    │   ├── lesion (TID 1411)                segment, volume
    │   └── lesion on its key slice (1410)   box, the slice's probability
    └── Qualitative Evaluations              conclusion, uncertainty, research use, limitations

Every number carries its algorithm (TID 4019), and every group a tracking UID. OHIF's reader takes
for granted that a number has content below it and that there are Imaging Measurements; so the
report on a series that was not analysed has a group, too, which says just that.
"""

from collections.abc import Sequence

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    GraphicTypeValues,
    ImageContentItem,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    NumContentItem,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceImageForRegion,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    UIDRefContentItem,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dictionary
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage

from models.findings import Findings
from node.dicom.write import codes
from node.dicom.write.seg import SEGMENT_NUMBER, tracking
from node.dicom.write.source import (
    Algorithm,
    Imprint,
    Source,
    imprint,
    references,
)
from node.records import Header, Predecessor
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
HAS_ACQ_CONTEXT = RelationshipTypeValues.HAS_ACQ_CONTEXT


def findings_report(
    source: Source, findings: Findings, mark: Imprint, segmentation: Dataset | None
) -> Dataset:
    """Return the report on a series that was read, ready to be saved.

    Parameters
    ----------
    source
        The analysed series.
    findings
        What the reader said about it.
    mark
        Kind, title and reader of the object.
    segmentation
        The segmentation that outlines the lesion; None where nothing is suspected or outlined.
    """
    detector = Algorithm.of(findings)
    groups: list[ContentSequence] = [_study(source, findings, mark)]
    for name, probability in findings.subtypes.items():
        groups.append(_subtype(source, mark, detector, name, probability))
    texts = [(codes.CONCLUSION, verdict(findings)), *_remarks(source)]
    if findings.uncertain:
        texts.insert(1, (codes.COMMENT, f"{UNCERTAIN} ({findings.uncertainty:.2f})"))
    if segmentation is not None:
        groups.append(_lesion(source, findings, mark, segmentation))
        groups.append(_key_slice(source, findings, mark))
    elif findings.suspected:
        texts.append((codes.COMMENT, NOT_OUTLINED))
    ds = _document(source, mark, groups, [*texts, *_limitations(source)], segmentation)
    ds.CompletionFlag = "COMPLETE"
    return ds


def not_analysed_report(source: Source, mark: Imprint, reason: str) -> Dataset:
    """Return the report on a series that was not read, with the reason, ready to be saved.

    It asks nothing of the series but the UIDs and the identity.
    """
    group = MeasurementsAndQualitativeEvaluations(
        _tracking(source, mark, "not analysed"),
        qualitative_evaluations=[
            QualitativeEvaluation(codes.SUMMARY_OF_ANALYSES, codes.NOT_ATTEMPTED)
        ],
    )
    texts = [
        (codes.CONCLUSION, f"{NOT_ANALYSED}. Reason: {reason} ({mark.reason_code})"),
        *_remarks(source),
    ]
    ds = _document(source, mark, [group], [*texts, *_limitations(source)], None)
    ds.CompletionFlag = "PARTIAL"
    ds.CompletionFlagDescription = "Not analysed: this is not a negative result"
    return ds


def _remarks(source: Source) -> list[tuple[Code, str]]:
    """Return what stands beside every conclusion."""
    older = source.plan.replaces
    why = [(codes.COMMENT, replacement(older.later_images))] if older else []
    return [*why, (codes.COMMENT, RESEARCH_USE_ONLY)]


def _limitations(source: Source) -> list[tuple[Code, str]]:
    return [(codes.COMMENT, f"Limitation: {text}") for text in source.plan.limitations]


def _document(
    source: Source,
    mark: Imprint,
    groups: Sequence[ContentSequence],
    texts: Sequence[tuple[Code, str]],
    segmentation: Dataset | None,
) -> Dataset:
    """Return the SR Document (PS3.3 A.35.13) around the content."""
    root = MeasurementReport(
        observation_context=ObservationContext(_observer(source, mark)),
        procedure_reported=codes.CT_OF_HEAD,
        imaging_measurements=groups,
        title=codes.MEASUREMENT_REPORT,
    )[0]
    measurements = root.ContentSequence.pop()
    root.ContentSequence.append(_image_library(source))
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
    """Return all instances that the content speaks of (PS3.3 C.17.2.3)."""
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
    """Return the report that this one replaces (PS3.3 C.17.2, Predecessor Documents Sequence)."""
    study = Dataset()
    study.StudyInstanceUID = source.plan.study_instance_uid
    uids = (older.series_instance_uid, older.sop_class_uid, older.sop_instance_uid)
    study.ReferencedSeriesSequence = [_one(*uids)]
    return study


def _one(series_uid: str, sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """Return the only instance of a series as an item of a Referenced Series Sequence."""
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


def _study(
    source: Source, findings: Findings, mark: Imprint
) -> MeasurementsAndQualitativeEvaluations:
    answer = codes.SUSPECTED if findings.suspected else codes.NOT_SUSPECTED
    evaluations = [
        (codes.SUMMARY_OF_ANALYSES, codes.SUCCEEDED),
        (codes.INTRACRANIAL_HEMORRHAGE, answer),
    ]
    if findings.uncertain:
        evaluations.append((codes.CERTAINTY, codes.UNCERTAIN))
    if findings.suspected:
        evaluations.append((codes.PRIORITY, codes.ACTIONABLE_WITHIN_MINUTES))
    return MeasurementsAndQualitativeEvaluations(
        _tracking(source, mark, "study"),
        finding_type=codes.INTRACRANIAL_HEMORRHAGE,
        finding_sites=[FindingSite(codes.BRAIN)],
        measurements=[_probability(findings.probability, Algorithm.of(findings))],
        qualitative_evaluations=[QualitativeEvaluation(*pair) for pair in evaluations],
    )


def _subtype(
    source: Source, mark: Imprint, detector: Algorithm, name: str, probability: float
) -> MeasurementsAndQualitativeEvaluations:
    return MeasurementsAndQualitativeEvaluations(
        _tracking(source, mark, name),
        finding_type=codes.SUBTYPES[name].finding,
        finding_sites=[FindingSite(codes.SUBTYPES[name].site)],
        measurements=[_probability(probability, detector)],
    )


def _lesion(
    source: Source, findings: Findings, mark: Imprint, segmentation: Dataset
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    identifier, uid = tracking(source, mark)
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(uid, identifier),
        referenced_segment=ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=SEGMENT_NUMBER,
            source_series=SourceSeriesForSegmentation(source.plan.series_instance_uid),
        ),
        finding_type=codes.INTRACRANIAL_HEMORRHAGE,
        finding_sites=[FindingSite(codes.BRAIN)],
        measurements=[
            _number(
                codes.VOLUME,
                round(findings.volume_ml, 2),
                codes.MILLILITRE,
                Algorithm.of(findings),
            )
        ],
    )


def _key_slice(
    source: Source, findings: Findings, mark: Imprint
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    index = key_slice(findings)
    ref = source.plan.slices[index]
    image = SourceImageForRegion(
        referenced_sop_class_uid=ref.sop_class_uid,
        referenced_sop_instance_uid=ref.sop_instance_uid,
        referenced_frame_numbers=[ref.frame_number] if source.in_frames(ref) else None,
    )
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        _tracking(source, mark, "key slice"),
        referenced_region=ImageRegion(GraphicTypeValues.POLYLINE, box(findings.mask[index]), image),
        finding_type=codes.INTRACRANIAL_HEMORRHAGE,
        finding_sites=[FindingSite(codes.BRAIN)],
        measurements=[_probability(findings.slices[index].probability, Algorithm.of(findings))],
    )


def key_slice(findings: Findings) -> int:
    """Return the index of the key slice, or of the largest lesion area if that shows none."""
    key = findings.key_slice
    if key is not None and findings.mask[key].any():
        return key
    return int(findings.mask.sum(axis=(1, 2)).argmax())


def box(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the closed box around a lesion on one slice.

    Parameters
    ----------
    mask
        (y, x) bool, at least one True.

    Returns
    -------
    NDArray[np.float32]
        (5, 2) float32, (column, row) of the corners in pixels from the outer corner of the first
        pixel (PS3.3 C.18.6.1.2), the first one again at the end.
    """
    top, left = np.argwhere(mask).min(axis=0)
    bottom, right = np.argwhere(mask).max(axis=0) + 1
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return np.array(corners, np.float32)


def _tracking(source: Source, mark: Imprint, name: str) -> TrackingIdentifier:
    return TrackingIdentifier(mark.uid(source, name), f"ichnode {name}")


def _probability(value: float, detector: Algorithm) -> Measurement:
    return _number(codes.PROBABILITY, round(value, 3), codes.NO_UNITS, detector)


def _number(name: Code, value: float, unit: Code, detector: Algorithm) -> Measurement:
    return Measurement(
        name,
        value,
        unit,
        algorithm_id=AlgorithmIdentification(
            detector.name,
            detector.version,
            parameters=[f"weights_sha256={detector.weights_sha256}"],
        ),
    )


def _texts(texts: Sequence[tuple[Code, str]]) -> ContainerContentItem:
    container = ContainerContentItem(codes.QUALITATIVE_EVALUATIONS, relationship_type=CONTAINS)
    container.ContentSequence = ContentSequence(
        [TextContentItem(name, ascii_text(text), CONTAINS) for name, text in texts]
    )
    return container


def _image_library(source: Source) -> ContainerContentItem:
    """Return the Image Library (TID 1600): what is common once, then each instance.

    Attributes that the series lacks are left out, so that any series can be named.
    """
    group = ContainerContentItem(codes.IMAGE_LIBRARY_GROUP, relationship_type=CONTAINS)
    group.ContentSequence = ContentSequence(_common(next(iter(source.headers.values()))))
    group.ContentSequence.extend(
        ImageContentItem(codes.SOURCE, header.sop_class_uid, uid, relationship_type=CONTAINS)
        for uid, header in source.headers.items()
    )
    library = ContainerContentItem(codes.IMAGE_LIBRARY, relationship_type=CONTAINS)
    library.ContentSequence = ContentSequence([group])
    return library


def _common(header: Header) -> list[ContentItem]:
    """Return the descriptors (TID 1602, 1604) that all instances share."""
    items: list[ContentItem] = []
    if header.modality == "CT":
        items.append(CodeContentItem(codes.MODALITY, codes.COMPUTED_TOMOGRAPHY, HAS_ACQ_CONTEXT))
    if uid := header.frame_of_reference_uid:
        items.append(UIDRefContentItem(codes.FRAME_OF_REFERENCE_UID, uid, HAS_ACQ_CONTEXT))
    vertical, horizontal = header.pixel_spacing_mm or (None, None)
    for name, value, unit in (
        (codes.PIXEL_DATA_ROWS, header.rows, codes.PIXELS),
        (codes.PIXEL_DATA_COLUMNS, header.columns, codes.PIXELS),
        (codes.HORIZONTAL_PIXEL_SPACING, horizontal, codes.MILLIMETRE),
        (codes.VERTICAL_PIXEL_SPACING, vertical, codes.MILLIMETRE),
        (codes.SLICE_THICKNESS, header.slice_thickness_mm, codes.MILLIMETRE),
    ):
        if value is not None:
            items.append(NumContentItem(name, float(value), unit, None, HAS_ACQ_CONTEXT))
    return items
