"""The slices of a series as images that highdicom can take, and back to the real ones."""

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pydicom.valuerep import DSfloat

from node.dicom.read.geometry import common_plane
from node.dicom.write.slices import reference
from node.dicom.write.source import Source, copy_attribute

COPIED = (
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "PositionReferenceIndicator",
)


def planes(source: Source) -> list[Dataset]:
    """Return the header of a single-frame image for each slice, whatever object it lies in.

    highdicom takes either one multi-frame object or many single frames, each with an identity and
    with exactly the same orientation. But a series may be split over several Enhanced CT objects,
    lack type 2 attributes, or differ in a cosine's last digit. So the index of a plane serves as
    its UID, until `plane_reference` gives the real one and `imprint` the real identity. The
    geometry is the one in which the series was read: what all images have in common.
    """
    common = common_plane(list(source.headers.values()))
    frame_of_reference = source.frame_of_reference_uid or source.uid("frame")
    made = []
    for index, ref in enumerate(source.plan.slices):
        plane = Dataset()
        plane.SOPClassUID = CTImageStorage
        plane.SOPInstanceUID = str(index)
        plane.StudyInstanceUID = source.plan.study_instance_uid
        plane.SeriesInstanceUID = source.plan.series_instance_uid
        plane.PatientID = plane.PatientName = plane.PatientBirthDate = plane.PatientSex = ""
        plane.AccessionNumber = plane.StudyID = ""
        plane.StudyDate = plane.StudyTime = None
        plane.FrameOfReferenceUID = frame_of_reference
        plane.Rows, plane.Columns = common.rows, common.columns
        plane.ImagePositionPatient = _decimals(ref.position_mm or ())
        plane.ImageOrientationPatient = _decimals(common.orientation)
        plane.PixelSpacing = _decimals(common.spacing_mm)
        plane.SliceThickness = source.slice_thickness_mm
        plane.SamplesPerPixel = 1
        for keyword in COPIED:
            copy_attribute(keyword, source.first, plane)
        made.append(plane)
    return made


def _decimals(values: Iterable[float]) -> list[DSfloat]:
    return [DSfloat(value, auto_format=True) for value in values]


def plane_reference(source: Source, item: Dataset) -> Dataset:
    """Return the reference to the slice that a plane stands for.

    Parameters
    ----------
    item
        A reference to one of `planes`.
    """
    return reference(source, source.plan.slices[int(item.ReferencedSOPInstanceUID)])
