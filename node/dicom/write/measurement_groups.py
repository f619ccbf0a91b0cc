"""The measurement groups of the structured report (PS3.16 TID 1501, 1410 and 1411).

Every number has a name of its own and carries its algorithm (TID 4019). All groups of a report are
about one finding, the hemorrhage, and bear its tracking UID, as the segment does.

OHIF's viewer (3.11 to 3.14) merges the groups of one tracking UID, and shows no image at all if it
finds a group without a region and without another of the same UID that has one. So the first group
of each report has a region: the box around the lesion, or the left border of a slice. OHIF writes
the first five numbers beside it.
"""

from collections.abc import Sequence

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    ContentSequence,
    FindingSite,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    SourceImageForRegion,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from models.findings import Findings
from models.side import Side
from node.dicom.write import codes
from node.dicom.write.seg import SEGMENT_NUMBER, tracking
from node.dicom.write.slices import first_look, outlined_slice
from node.dicom.write.source import Algorithm, Imprint, Source
from node.records import SliceRef

Corners = NDArray[np.float32]


def study(
    source: Source, findings: Findings, mark: Imprint
) -> MeasurementsAndQualitativeEvaluations:
    """Return the group on the whole study (TID 1501): suspected or not, probability, priority."""
    answer = codes.SUSPECTED if findings.suspected else codes.NOT_SUSPECTED
    in_part = bool(source.plan.in_part)  # then nothing is said that could be taken for a negative
    done = codes.PARTIALLY_SUCCEEDED if in_part else codes.SUCCEEDED
    evaluations = [(codes.SUMMARY_OF_ANALYSES, done)]
    if not in_part:
        evaluations.append((codes.INTRACRANIAL_HEMORRHAGE, answer))
    if findings.uncertain:
        evaluations.append((codes.CERTAINTY, codes.UNCERTAIN))
    if findings.suspected:
        evaluations.append((codes.PRIORITY, codes.ACTIONABLE_WITHIN_MINUTES))
    return MeasurementsAndQualitativeEvaluations(
        _tracking(source, mark),
        finding_type=codes.INTRACRANIAL_HEMORRHAGE,
        finding_sites=[FindingSite(codes.BRAIN)],
        measurements=[_probability(codes.PROBABILITY, findings.probability, findings)],
        qualitative_evaluations=[QualitativeEvaluation(*pair) for pair in evaluations],
    )


def subtype(
    source: Source, findings: Findings, mark: Imprint, name: str
) -> MeasurementsAndQualitativeEvaluations:
    """Return the group on one of `models.findings.SUBTYPES` (TID 1501): its probability."""
    which = codes.SUBTYPES[name]
    return MeasurementsAndQualitativeEvaluations(
        _tracking(source, mark),
        finding_type=which.finding,
        finding_sites=[FindingSite(which.site)],
        measurements=[_probability(which.probability, findings.subtypes[name], findings)],
    )


def lesion(
    source: Source,
    findings: Findings,
    mark: Imprint,
    segmentation: Dataset,
    side: Side | None = None,
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    """Return the group on the segmented lesion (TID 1411): its segment, volume and side."""
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        _tracking(source, mark),
        referenced_segment=ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=SEGMENT_NUMBER,
            source_series=SourceSeriesForSegmentation(source.plan.series_instance_uid),
        ),
        finding_type=codes.INTRACRANIAL_HEMORRHAGE,
        finding_sites=[FindingSite(codes.BRAIN, codes.SIDES.get(side) if side else None)],
        measurements=[
            _number(codes.VOLUME, round(findings.volume_ml, 2), codes.MILLILITRE, findings)
        ],
    )


def key_slice(source: Source, findings: Findings, mark: Imprint) -> ContentSequence:
    """Return the group that shows where to look (TID 1410).

    If a lesion is outlined, its region is the box around it on the key slice. Otherwise it is the
    left border of the slice to look at first, and the group names no finding.
    """
    if findings.suspected and findings.mask.any():
        index = outlined_slice(findings)
        region = _region(source, source.plan.slices[index], box(findings.mask[index]))
        return PlanarROIMeasurementsAndQualitativeEvaluations(
            _tracking(source, mark),
            referenced_region=region,
            finding_type=codes.INTRACRANIAL_HEMORRHAGE,
            finding_sites=[FindingSite(codes.BRAIN)],
        )
    seen = []
    if source.plan.in_part and not findings.suspected:
        seen.append(_number(codes.SLICES_IN_PART, len(findings.slices), codes.SLICES, findings))
    return _slice(source, mark, source.plan.slices[first_look(findings)], seen)


def not_analysed(source: Source, mark: Imprint) -> ContentSequence:
    """Return the group of a series that was not analysed: that, and how many images came.

    Its region is the left border of the middle image.
    """
    count = Measurement(codes.IMAGES_NOT_ANALYSED, len(source.headers), codes.IMAGES)
    refs = [ref for ref in source.plan.slices if source.headers[ref.sop_instance_uid].rows]
    refs = refs or list(source.plan.slices)
    said = QualitativeEvaluation(codes.SUMMARY_OF_ANALYSES, codes.NOT_ATTEMPTED)
    return _slice(source, mark, refs[len(refs) // 2], [count], [said])


def box(mask: NDArray[np.bool_]) -> Corners:
    """Return the closed box around a lesion on one slice.

    Parameters
    ----------
    mask
        (y, x) bool, at least one pixel is True.

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


def _slice(
    source: Source,
    mark: Imprint,
    ref: SliceRef,
    measurements: Sequence[Measurement],
    evaluations: Sequence[QualitativeEvaluation] = (),
) -> ContentSequence:
    """Return a group on a slice, without a region if the object is no image.

    The region is the column of pixels at the left border: nobody takes it for a lesion, and what a
    viewer writes at its right stays within the picture.
    """
    finding = _tracking(source, mark)
    header = source.headers[ref.sop_instance_uid]
    if not header.rows or not header.columns:
        return MeasurementsAndQualitativeEvaluations(
            finding, measurements=measurements, qualitative_evaluations=evaluations
        )
    border = box(np.ones((header.rows, 1), bool))
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        finding,
        _region(source, ref, border),
        measurements=measurements,
        qualitative_evaluations=evaluations,
    )


def _region(source: Source, ref: SliceRef, corners: Corners) -> ImageRegion:
    image = SourceImageForRegion(
        referenced_sop_class_uid=ref.sop_class_uid,
        referenced_sop_instance_uid=ref.sop_instance_uid,
        referenced_frame_numbers=[ref.frame_number] if source.in_frames(ref) else None,
    )
    return ImageRegion(GraphicTypeValues.POLYLINE, corners, image)


def _tracking(source: Source, mark: Imprint) -> TrackingIdentifier:
    identifier, uid = tracking(source, mark)
    return TrackingIdentifier(uid, identifier)


def _probability(name: Code, value: float, findings: Findings) -> Measurement:
    return _number(name, round(value, 3), codes.NO_UNITS, findings)


def _number(name: Code, value: float, unit: Code, findings: Findings) -> Measurement:
    """Return a number with the algorithm that made it."""
    detector = Algorithm.of(findings)
    parameters = [f"weights_sha256={detector.weights_sha256}"]
    if findings.operating_point is not None:
        parameters.append(f"operating_point={findings.operating_point:.3f}")
    if findings.operating_point_name is not None:
        parameters.append(f"operating_point_name={findings.operating_point_name}")
    return Measurement(
        name,
        value,
        unit,
        algorithm_id=AlgorithmIdentification(
            detector.name, detector.version, parameters=parameters
        ),
    )
