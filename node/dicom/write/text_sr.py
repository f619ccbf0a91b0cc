"""The result as a plain report: TID 2000 "Basic Diagnostic Imaging Report" as Basic Text SR.

Every viewer shows it as text. The tree:

    Diagnostic imaging report
    ├── language, device observer
    ├── Conclusions                          verdict, what goes with it, research use
    └── Findings                             numbers with the slice to look at first, mimics,
                                             limitations
"""

from collections.abc import Sequence

from highdicom.sr import (
    ContainerContentItem,
    ContentSequence,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    ObservationContext,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import BasicTextSRStorage

from models.findings import Findings
from models.side import Side
from node.dicom.write import codes, sentences
from node.dicom.write.document import document, observer, partial
from node.dicom.write.slices import first_look
from node.dicom.write.source import Imprint, Source
from node.records import SliceRef
from node.wording import NOT_ANALYSED, ascii_text, plainly, verdict

CONTAINS = RelationshipTypeValues.CONTAINS


def findings_text(
    source: Source, findings: Findings, mark: Imprint, side: Side | None = None
) -> Dataset:
    """Return the plain report on a series that was analysed, ready to be saved.

    Parameters
    ----------
    side
        On which side the lesion lies; None if that was not measured.
    """
    in_part = source.plan.in_part
    conclusions = [
        verdict(findings, in_part),
        *sentences.verdict_remarks(source, findings),
        *sentences.remarks(source),
    ]
    found = [
        *sentences.numbers(source, findings, side),
        *sentences.mimics(findings),
        *sentences.limitations(source),
    ]
    look = source.plan.slices[first_look(findings)]
    ds = report(source, mark, conclusions, found, look)
    return partial(ds, "Read in part") if in_part else ds


def not_analysed_text(source: Source, mark: Imprint, reason: str) -> Dataset:
    """Return the plain report on a series that was not analysed, with the reason."""
    conclusions = [NOT_ANALYSED, plainly(mark.reason_code), *sentences.remarks(source)]
    found = [f"Reason: {reason} ({mark.reason_code})", *sentences.limitations(source)]
    return partial(report(source, mark, conclusions, found, None), "Not analysed")


def report(
    source: Source,
    mark: Imprint,
    conclusions: Sequence[str],
    found: Sequence[str],
    look: SliceRef | None,
) -> Dataset:
    """Return the Basic Text SR document (PS3.3 A.35.1); the first finding refers to a slice."""
    root = ContainerContentItem(codes.DIAGNOSTIC_IMAGING_REPORT, template_id="2000")
    root.ContentSequence = ContentSequence(
        [
            *LanguageOfContentItemAndDescendants(codes.ENGLISH),
            *ObservationContext(observer(source, mark)),
            _section(codes.CONCLUSIONS, codes.CONCLUSION, conclusions),
            _section(codes.FINDINGS, codes.FINDING, found),
        ]
    )
    if look is not None:
        findings = root.ContentSequence[-1].ContentSequence
        findings[0].ContentSequence = ContentSequence([_image(source, look)])
    return document(root, BasicTextSRStorage, source, mark, [])


def _section(heading: Code, element: Code, texts: Sequence[str]) -> ContainerContentItem:
    section = ContainerContentItem(heading, relationship_type=CONTAINS)
    section.ContentSequence = ContentSequence(
        [TextContentItem(element, _ended(ascii_text(text)), CONTAINS) for text in texts]
    )
    return section


def _ended(text: str) -> str:
    """Return a sentence with its full stop: some viewers show all of them on one line."""
    return text if text.endswith(".") else f"{text}."


def _image(source: Source, ref: SliceRef) -> ImageContentItem:
    return ImageContentItem(
        codes.SOURCE,
        ref.sop_class_uid,
        ref.sop_instance_uid,
        referenced_frame_numbers=[ref.frame_number] if source.in_frames(ref) else None,
        relationship_type=RelationshipTypeValues.INFERRED_FROM,
    )
