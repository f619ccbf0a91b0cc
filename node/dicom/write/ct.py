"""CT Image Storage objects (PS3.3 A.3) of a computed head, for the node's own canary.

They hold what a scanner's would, so that the node does with them what it does with a scanner's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from models.volume import Volume

INTERCEPT_HU = -1024


@dataclass(frozen=True, slots=True)
class Scanned:
    """As whose and which study a computed head goes.

    Attributes
    ----------
    words
        PatientID and StudyDescription.
    acquired
        With an offset from UTC.
    """

    study_instance_uid: str
    words: str
    patient_name: str
    acquired: datetime


def write_ct(volume: Volume, scanned: Scanned, folder: Path) -> Iterator[Path]:
    """Write one CT object for each slice into a folder, which is there; yield their files.

    Raises
    ------
    OSError
        If the disk is full or fails.
    """
    series, frame = (_uid(scanned, kind) for kind in ("series", "frame of reference"))
    stored = np.rint(volume.hu).astype("<i2") - np.int16(INTERCEPT_HU)
    for index, pixels in enumerate(stored):
        ds = Dataset()
        _study(ds, scanned)
        ds.SeriesInstanceUID, ds.FrameOfReferenceUID = series, frame
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, _uid(scanned, str(index))
        ds.InstanceNumber = index + 1
        _plane(ds, volume, index)
        _pixels(ds, pixels)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{index + 1:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        yield path


def new_study() -> str:
    """Return a StudyInstanceUID that nobody has used (PS3.5 B.2)."""
    return generate_uid(prefix="2.25.")


def _uid(scanned: Scanned, what: str) -> str:
    return generate_uid(entropy_srcs=[scanned.study_instance_uid, what])


def _study(ds: Dataset, scanned: Scanned) -> None:
    """Fill Patient, General Study, General Series and General Equipment (PS3.3 C.7.1 to C.7.5)."""
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName, ds.PatientID = scanned.patient_name, scanned.words
    ds.PatientBirthDate, ds.PatientSex = "19000101", "O"
    ds.StudyInstanceUID, ds.StudyDescription = scanned.study_instance_uid, scanned.words
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "", "CANARY", ""
    for kind in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{kind}Date", f"{scanned.acquired:%Y%m%d}")
        setattr(ds, f"{kind}Time", f"{scanned.acquired:%H%M%S}")
    ds.TimezoneOffsetFromUTC = f"{scanned.acquired:%z}"
    ds.Modality, ds.SeriesNumber = "CT", 1
    ds.SeriesDescription, ds.BodyPartExamined, ds.PatientPosition = "CANARY HEAD", "HEAD", "HFS"
    ds.PositionReferenceIndicator = ""
    ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions = "ichnode", "canary", "1"
    ds.ImageType, ds.AcquisitionNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], 1
    ds.KVP, ds.ConvolutionKernel = 120, "H30s"


def _plane(ds: Dataset, volume: Volume, index: int) -> None:
    """Say where a slice lies (Image Plane, PS3.3 C.7.6.2)."""
    ds.ImageOrientationPatient = [_ds(cosine) for cosine in volume.orientation]
    ds.ImagePositionPatient = [_ds(mm) for mm in volume.positions_mm[index]]
    ds.SliceLocation = _ds(volume.locations_mm[index])
    ds.PixelSpacing = [_ds(mm) for mm in volume.spacing_mm]
    ds.SliceThickness = "" if volume.thickness_mm is None else _ds(volume.thickness_mm)


def _pixels(ds: Dataset, pixels: "np.ndarray[tuple[int, ...], np.dtype[np.int16]]") -> None:
    """Store a slice and what its values mean (Image Pixel, CT Image; PS3.3 C.7.6.3, C.8.2.1)."""
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = INTERCEPT_HU, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 80
    ds.PixelData = pixels.tobytes()


def _ds(value: float) -> str:
    """Return a decimal string of at most 16 characters (PS3.5 6.2)."""
    return format_number_as_ds(float(value) + 0.0)
