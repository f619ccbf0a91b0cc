"""The image library of the structured report (PS3.16 TID 1600): the images that it points to.

All instances that were analysed stand in the evidence of the report. A library of hundreds of them
would bury the result where a viewer shows the document as a tree.
"""

from collections.abc import Sequence

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    UIDRefContentItem,
)

from node.dicom.write import codes
from node.dicom.write.source import Source

CONTAINS = RelationshipTypeValues.CONTAINS
HAS_ACQ_CONTEXT = RelationshipTypeValues.HAS_ACQ_CONTEXT


def image_library(source: Source, shown: Sequence[str]) -> ContainerContentItem:
    """Return the Image Library (TID 1600): common attributes once, then these instances.

    Attributes that the series lacks are left out, so that any series can have a library.

    Parameters
    ----------
    shown
        SOPInstanceUIDs of instances of the source, at least one (TID 1600, row 2).
    """
    group = ContainerContentItem(codes.IMAGE_LIBRARY_GROUP, relationship_type=CONTAINS)
    group.ContentSequence = ContentSequence(_common(source))
    group.ContentSequence.extend(
        ImageContentItem(
            codes.SOURCE, source.headers[uid].sop_class_uid, uid, relationship_type=CONTAINS
        )
        for uid in shown
    )
    library = ContainerContentItem(codes.IMAGE_LIBRARY, relationship_type=CONTAINS)
    library.ContentSequence = ContentSequence([group])
    return library


def _common(source: Source) -> list[ContentItem]:
    """Return the descriptors (TID 1602, 1604) that all instances share."""
    header = next(iter(source.headers.values()))
    items: list[ContentItem] = []
    if header.modality == "CT":
        items.append(CodeContentItem(codes.MODALITY, codes.COMPUTED_TOMOGRAPHY, HAS_ACQ_CONTEXT))
    if uid := source.frame_of_reference_uid:
        items.append(UIDRefContentItem(codes.FRAME_OF_REFERENCE_UID, uid, HAS_ACQ_CONTEXT))
    vertical, horizontal = header.pixel_spacing_mm or (None, None)
    for name, value, unit in (
        (codes.PIXEL_DATA_ROWS, header.rows, codes.PIXELS),
        (codes.PIXEL_DATA_COLUMNS, header.columns, codes.PIXELS),
        (codes.HORIZONTAL_PIXEL_SPACING, horizontal, codes.MILLIMETRE),
        (codes.VERTICAL_PIXEL_SPACING, vertical, codes.MILLIMETRE),
        (codes.SLICE_THICKNESS, source.slice_thickness_mm, codes.MILLIMETRE),
    ):
        if value is not None:
            items.append(NumContentItem(name, float(value), unit, None, HAS_ACQ_CONTEXT))
    return items
