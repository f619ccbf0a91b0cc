"""The measurement groups of the structured report (PS3.16 TID 1501, 1410 and 1411).

Every number carries its algorithm (TID 4019), and every group a tracking UID. OHIF's viewer assumes
that a number has content below it.
"""

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
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
from node.dicom.write import codes
from node.dicom.write.seg import SEGMENT_NUMBER, tracking
from node.dicom.write.source import Algorithm, Imprint, Source


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
        _tracking(source, mark, "study"),
        finding_type=codes.INTRACRANIAL_HEMORRHAGE,
        finding_sites=[FindingSite(codes.BRAIN)],
        measurements=[_probability(findings.probability, Algorithm.of(findings))],
        qualitative_evaluations=[QualitativeEvaluation(*pair) for pair in evaluations],
    )


def subtype(
    source: Source, mark: Imprint, detector: Algorithm, name: str, probability: float
) -> MeasurementsAndQualitativeEvaluations:
    """Return the group on one of `models.findings.SUBTYPES` (TID 1501): its probability."""
    return MeasurementsAndQualitativeEvaluations(
        _tracking(source, mark, name),
        finding_type=codes.SUBTYPES[name].finding,
        finding_sites=[FindingSite(codes.SUBTYPES[name].site)],
        measurements=[_probability(probability, detector)],
    )


def lesion(
    source: Source, findings: Findings, mark: Imprint, segmentation: Dataset
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    """Return the group on the segmented lesion (TID 1411): its segment and its volume."""
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


def key_slice(
    source: Source, findings: Findings, mark: Imprint
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    """Return the group on the lesion's key slice (TID 1410): a box, the slice's probability."""
    index = _key_index(findings)
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


def not_analysed(source: Source, mark: Imprint) -> MeasurementsAndQualitativeEvaluations:
    """Return the group of a series that was not analysed, which says that and no more."""
    return MeasurementsAndQualitativeEvaluations(
        _tracking(source, mark, "not analysed"),
        qualitative_evaluations=[
            QualitativeEvaluation(codes.SUMMARY_OF_ANALYSES, codes.NOT_ATTEMPTED)
        ],
    )


def _key_index(findings: Findings) -> int:
    """Return the index of the key slice; if it shows no lesion, of the slice that shows most."""
    key = findings.key_slice
    if key is not None and findings.mask[key].any():
        return key
    return int(findings.mask.sum(axis=(1, 2)).argmax())


def box(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
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
