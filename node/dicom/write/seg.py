"""The lesion mask as a DICOM Segmentation (PS3.3 A.51), on the source's own slices."""

from dataclasses import replace

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from node.dicom.write import codes
from node.dicom.write.planes import plane_reference, planes
from node.dicom.write.source import (
    Algorithm,
    Imprint,
    Source,
    imprint,
    references,
)
from node.wording import AMBER

SEGMENT_NUMBER = 1
CONTENT = "Suspected intracranial hemorrhage. Research use only"
SUCCESSOR = "Suspected ICH, replaces an earlier result. Research use only"
"""ContentDescription of at most 64 characters.

`SUCCESSOR` is for a result that replaces one: viewers keep the older segmentation beside it.
"""


def segmentation(
    source: Source, mask: NDArray[np.bool_], mark: Imprint, *, omit_empty_frames: bool = True
) -> Dataset:
    """Return `mask` as a BINARY segmentation in the geometry of its source, ready to be saved.

    Frames lie where their slices lie, under any gantry tilt and spacing, and each names its source
    image.

    Parameters
    ----------
    source
        The analysed series: one slice for each plane of the mask.
    mask
        (z, y, x) bool, True in the lesion, z in the order of the plan; at least one voxel is True.
    mark
        Kind, title and detector of the object.
    omit_empty_frames
        Leave out frames without a lesion. Most viewers prefer that; some misplace such frames.

    Raises
    ------
    ValueError
        If the mask is empty, or its number of planes is not the source's number of slices.
    """
    if not mask.any():
        raise ValueError("an empty mask is no segmentation: a negative has none")
    ds: Dataset = Segmentation(
        source_images=planes(source),
        pixel_array=mask,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(source, mark)],
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
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=omit_empty_frames,
    )
    _name_frames(ds, source)
    _name_dimensions(ds, mark.uid(source, "dimensions"))
    imprint(ds, source, mark)
    ds.BodyPartExamined = "HEAD"
    ds.ContentCreatorName = ""
    return ds


def tracking(source: Source, mark: Imprint) -> tuple[str, str]:
    """Return the tracking identifier and UID of the hemorrhage, for all objects alike."""
    return "ichnode ICH", replace(mark, kind="finding").uid(source)


def algorithm_identification(detector: Algorithm) -> AlgorithmIdentificationSequence:
    """Return the Algorithm Identification Macro (PS3.3 10.16) of the detector."""
    return AlgorithmIdentificationSequence(
        name=detector.name,
        family=codes.ARTIFICIAL_INTELLIGENCE,
        version=detector.version,
        source="ichnode",
        parameters={"weights_sha256": detector.weights_sha256},
    )


def _segment(source: Source, mark: Imprint) -> SegmentDescription:
    assert mark.detector is not None  # a series with a mask was analysed
    tracking_id, tracking_uid = tracking(source, mark)
    return SegmentDescription(
        segment_number=SEGMENT_NUMBER,
        segment_label="Intracranial hemorrhage",
        segmented_property_category=codes.MORPHOLOGICALLY_ABNORMAL,
        segmented_property_type=codes.INTRACRANIAL_HEMORRHAGE,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm_identification(mark.detector),
        tracking_id=tracking_id,
        tracking_uid=tracking_uid,
        anatomic_regions=[codes.BRAIN],
        display_color=CIELabColor.from_rgb(*AMBER),
    )


def _name_frames(ds: Dataset, source: Source) -> None:
    """Replace each plane's index by the reference to its source image."""
    for frame in ds.PerFrameFunctionalGroupsSequence:
        item = frame.DerivationImageSequence[0].SourceImageSequence[0]
        item.update(plane_reference(source, item))
    ds.SourceImageSequence = references(source)
    ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence = references(source)


def _name_dimensions(ds: Dataset, uid: str) -> None:
    """Give the dimension organization a UID that is the same in a retry."""
    for item in (*ds.DimensionOrganizationSequence, *ds.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
