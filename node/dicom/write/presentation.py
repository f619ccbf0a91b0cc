"""The lesion's outline as a Grayscale Softcopy Presentation State (PS3.3 A.33.1).

Many viewers that ignore segmentations draw it over the original images: the outline on each slice,
a label beside it, and the brain window. It refers to all slices, so that one can scroll through.
"""

import numpy as np
from contourpy import contour_generator
from highdicom import ModalityLUTTransformation
from highdicom.color import CIELabColor
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    GrayscaleSoftcopyPresentationState,
    SoftcopyVOILUTTransformation,
    TextJustificationValues,
    TextObject,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.findings import Findings
from node.dicom.write.measurement_groups import box
from node.dicom.write.planes import plane_reference, planes
from node.dicom.write.seg import CONTENT, SUCCESSOR, tracking
from node.dicom.write.slices import outlined_slice
from node.dicom.write.source import Imprint, Source, imprint, references
from node.wording import AMBER, headline

LAYER = "ICH"
MOST_POINTS = 4000
"""Graphic Data (VR FL, PS3.5 6.2) holds up to 8191 points; a longer outline is thinned."""

Outline = NDArray[np.float64]


def presentation(source: Source, findings: Findings, mark: Imprint) -> Dataset | None:
    """Return the outlines as a presentation state, ready to be saved.

    The result is None if the slices differ in how their values become HU: one state has one
    Modality LUT for all (PS3.3 C.11.1).

    Raises
    ------
    ValueError
        If nothing is outlined.
    """
    if not findings.mask.any():
        raise ValueError("there is no outline to show")
    if source.rescale is None:
        return None
    images = planes(source)
    layer = GraphicLayer(LAYER, 1, CONTENT, CIELabColor.from_rgb(*AMBER))
    shown = np.flatnonzero(findings.mask.any(axis=(1, 2)))
    ds: Dataset = GrayscaleSoftcopyPresentationState(
        referenced_images=images,
        series_instance_uid=mark.uid(source, "series"),
        series_number=1,
        sop_instance_uid=mark.uid(source),
        instance_number=1,
        manufacturer="ichnode",
        manufacturer_model_name="ichnode",
        software_versions="",
        device_serial_number="",
        content_label="ICH",
        content_description=SUCCESSOR if source.plan.replaces else CONTENT,
        graphic_layers=[layer],
        graphic_annotations=[
            _annotation(source, findings, mark, images[index], layer) for index in shown
        ],
        modality_lut_transformation=_to_hu(*source.rescale),
        voi_lut_transformations=[SoftcopyVOILUTTransformation([40], [80], ["brain"])],
    )
    area = ds.DisplayedAreaSelectionSequence[0]
    del area.PresentationPixelAspectRatio  # the pixels may not be square
    area.PresentationPixelSpacing = images[0].PixelSpacing
    _name_images(ds, source)
    imprint(ds, source, mark)
    ds.BodyPartExamined = "HEAD"  # not paired: needs no laterality
    ds.ContentCreatorName = ""
    ds.PresentationCreationDate, ds.PresentationCreationTime = ds.ContentDate, ds.ContentTime
    return ds


def outlines(mask: NDArray[np.bool_]) -> list[Outline]:
    """Return the closed lines around a lesion on one slice, holes included.

    Parameters
    ----------
    mask
        (y, x) bool.

    Returns
    -------
    list[Outline]
        For each line (n, 2) float64, (column, row) in pixels from the outer corner of the first
        pixel, as DICOM counts (PS3.3 C.10.5); its last point is its first.
    """
    # Padded, so that a line closes at the border; a value lies in the middle of its pixel.
    lines = contour_generator(z=np.pad(mask, 1).astype(float)).lines(0.5)
    return [_thinned(np.asarray(line) - 0.5) for line in lines]


def _thinned(line: Outline) -> Outline:
    if len(line) <= MOST_POINTS:
        return line
    every = -(-len(line) // MOST_POINTS)
    return np.concatenate([line[:-1:every], line[:1]])


def _annotation(
    source: Source, findings: Findings, mark: Imprint, image: Dataset, layer: GraphicLayer
) -> GraphicAnnotation:
    """Return the outline of one slice and its label; the key slice's has the result."""
    index = int(image.SOPInstanceUID)
    identifier, uid = tracking(source, mark)
    graphics = [
        GraphicObject(
            GraphicTypeValues.POLYLINE,
            line,
            AnnotationUnitsValues.PIXEL,
            tracking_id=identifier,
            tracking_uid=uid,
        )
        for line in outlines(findings.mask[index])
    ]
    key = index == outlined_slice(findings)
    said = f"KEY SLICE: {headline(findings)}, unverified" if key else "ICH suspected, unverified"
    label = _label(findings.mask[index], f"{said}, research only")
    return GraphicAnnotation([image], layer, graphic_objects=graphics, text_objects=[label])


def _label(mask: NDArray[np.bool_], text: str) -> TextObject:
    """Return a label anchored at the lower right corner of the lesion's box."""
    right, bottom = box(mask)[2]
    return TextObject(
        text,
        AnnotationUnitsValues.PIXEL,
        anchor_point=(float(right), float(bottom)),
        anchor_point_visible=False,
        text_justification=TextJustificationValues.LEFT,
    )


def _to_hu(slope: float, intercept: float) -> ModalityLUTTransformation:
    return ModalityLUTTransformation(
        rescale_intercept=intercept, rescale_slope=slope, rescale_type="HU"
    )


def _name_images(ds: Dataset, source: Source) -> None:
    """Replace each plane's index by the reference to its slice."""
    ds.ReferencedSeriesSequence[0].ReferencedImageSequence = references(source)
    for annotation in ds.GraphicAnnotationSequence:
        (item,) = annotation.ReferencedImageSequence
        annotation.ReferencedImageSequence = [plane_reference(source, item)]
