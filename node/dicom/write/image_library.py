"""The image library of the structured report (PS3.16 TID 1600): all instances that it is about."""

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


def image_library(source: Source) -> ContainerContentItem:
    """Return the Image Library (TID 1600): common attributes once, then every instance.

    Attributes that the series lacks are left out, so that any series can have a library.
    """
    group = ContainerContentItem(codes.IMAGE_LIBRARY_GROUP, relationship_type=CONTAINS)
    group.ContentSequence = ContentSequence(_common(source))
    group.ContentSequence.extend(
        ImageContentItem(codes.SOURCE, header.sop_class_uid, uid, relationship_type=CONTAINS)
        for uid, header in source.headers.items()
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
