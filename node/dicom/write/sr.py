"""The result as a structured report: TID 1500 "Measurement Report" (PS3.16) as Comprehensive 3D SR.

IHE's AI Results profile asks an evidence creator for Comprehensive 3D SR, which contains everything
that Comprehensive SR contains. The tree:

    Imaging Measurement Report
    ├── language, device observer, procedure reported
    ├── Image Library                        the slices that the report points to
    ├── Imaging Measurements                 all under one tracking UID
    │   ├── key slice (TID 1410)             where to look: box, or border of a slice
    │   ├── lesion (TID 1411)                segment, volume
    │   ├── study (TID 1501)                 suspected or not, uncertain, priority, probability
    │   └── subtype (TID 1501), each         probability
    └── Qualitative Evaluations              conclusion, numbers and mimics in words, research use,
                                              limitations

`node.dicom.write.measurement_groups` says why every report begins with a region, also one on a
series that was not analysed.
"""

from collections.abc import Sequence

from highdicom.sr import (
    ContainerContentItem,
    ContentSequence,
    MeasurementReport,
    ObservationContext,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from models.findings import Findings
from models.side import Side
from node.dicom.write import codes, measurement_groups, sentences
from node.dicom.write.document import document, observer, partial
from node.dicom.write.image_library import image_library
from node.dicom.write.source import Imprint, Source
from node.wording import NOT_ANALYSED, ascii_text, ranked, verdict

CONTAINS = RelationshipTypeValues.CONTAINS


def findings_report(
    source: Source,
    findings: Findings,
    mark: Imprint,
    segmentation: Dataset | None,
    side: Side | None = None,
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
    side
        On which side it lies; None if that was not measured.
    """
    groups: list[ContentSequence] = [measurement_groups.key_slice(source, findings, mark)]
    if segmentation is not None:
        groups.append(measurement_groups.lesion(source, findings, mark, segmentation, side))
    groups.append(measurement_groups.study(source, findings, mark))
    groups.extend(
        measurement_groups.subtype(source, findings, mark, name) for name, _ in ranked(findings)
    )
    in_part = source.plan.in_part
    texts = [
        *sentences.verdict_remarks(source, findings),
        *sentences.numbers(source, findings, side),
        *sentences.mimics(findings),
        *sentences.remarks(source),
        *sentences.limitations(source),
    ]
    ds = report(source, mark, groups, verdict(findings, in_part), texts, segmentation)
    return partial(ds, "Read in part") if in_part else ds


def not_analysed_report(source: Source, mark: Imprint, reason: str) -> Dataset:
    """Return the report on a series that was not analysed, with the reason, ready to be saved.

    Of the series it needs only the UIDs and the identity.
    """
    group = measurement_groups.not_analysed(source, mark)
    conclusion = f"{NOT_ANALYSED}. Reason: {reason} ({mark.reason_code})"
    texts = [*sentences.remarks(source), *sentences.limitations(source)]
    return partial(report(source, mark, [group], conclusion, texts, None), "Not analysed")


def report(
    source: Source,
    mark: Imprint,
    groups: Sequence[ContentSequence],
    conclusion: str,
    comments: Sequence[str],
    segmentation: Dataset | None,
) -> Dataset:
    """Return the SR Document (PS3.3 A.35.13) with this content."""
    root = MeasurementReport(
        observation_context=ObservationContext(observer(source, mark)),
        procedure_reported=codes.CT_OF_HEAD,
        imaging_measurements=groups,
        title=codes.MEASUREMENT_REPORT,
    )[0]
    measurements = root.ContentSequence.pop()
    root.ContentSequence.append(image_library(source, _shown(source, groups)))
    root.ContentSequence.append(measurements)
    root.ContentSequence.append(_texts(conclusion, comments))
    ds = document(root, Comprehensive3DSRStorage, source, mark, _others(segmentation))
    ds.CodingSchemeIdentificationSequence = [_our_scheme()]
    return ds


def _others(segmentation: Dataset | None) -> list[Dataset]:
    return [] if segmentation is None else [segmentation]


def _shown(source: Source, groups: Sequence[ContentSequence]) -> list[str]:
    """Return the instances to which the groups' regions refer; the first if there is none."""
    found = [
        image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for group in groups
        for item in group[0].ContentSequence
        if item.ValueType == "SCOORD"
        for image in item.ContentSequence
    ]
    return found or [next(iter(source.headers))]


def _our_scheme() -> Dataset:
    """Return an item of the Coding Scheme Identification Sequence (PS3.3 C.12.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = codes.OURS
    item.CodingSchemeName = "Codes of ichnode, listed in its conformance statement"
    item.CodingSchemeResponsibleOrganization = "ichnode"
    return item


def _texts(conclusion: str, comments: Sequence[str]) -> ContainerContentItem:
    container = ContainerContentItem(codes.QUALITATIVE_EVALUATIONS, relationship_type=CONTAINS)
    texts = [(codes.CONCLUSION, conclusion), *((codes.COMMENT, text) for text in comments)]
    container.ContentSequence = ContentSequence(
        [TextContentItem(name, ascii_text(text), CONTAINS) for name, text in texts]
    )
    return container
