"""CT Image Storage objects (PS3.3 A.3) of a volume.

A computed head is for the node's own canary: its objects hold what a scanner's would, so that the
node does with them what it does with a scanner's. A de-identified head is for a study of several
sites: its objects take nothing from the source but the voxels, their place and what made them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from models.volume import Volume

INTERCEPT_HU = -1024
STORED = (-32768, 32767)
"""What a stored value may be."""


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


@dataclass(frozen=True, slots=True)
class Deidentified:
    """As what a head goes that nobody may recognise.

    Attributes
    ----------
    patient
        A pseudonym.
    study_instance_uid
        Of this export; series and images have theirs from it.
    manufacturer, model, kernel
        What made the images; "" where it is not said.
    lossy
        Whether the images were compressed with losses.
    faceless
        Whether the face was removed, and all that lies beside the head.
    """

    patient: str
    study_instance_uid: str
    manufacturer: str = ""
    model: str = ""
    kernel: str = ""
    lossy: bool = False
    faceless: bool = True


def write_ct(volume: Volume, scanned: Scanned, folder: Path) -> Iterator[Path]:
    """Write one CT object for each slice into a folder, which is there; yield their files.

    Raises
    ------
    OSError
        If the disk is full or fails.
    """
    ds = Dataset()
    _study(ds, scanned)
    yield from _write(volume, ds, scanned.study_instance_uid, folder)


def write_deidentified(volume: Volume, head: Deidentified, folder: Path) -> Iterator[Path]:
    """Write one CT object for each slice into a folder, which is there; yield their files.

    They keep the Basic Application Level Confidentiality Profile (PS3.15 Annex E) by naming what
    may be there instead of what may not: no attribute is copied. Dates are removed.

    Raises
    ------
    OSError
        If the disk is full or fails.
    """
    ds = Dataset()
    _nobody(ds, head)
    yield from _write(volume, ds, head.study_instance_uid, folder)


def _write(volume: Volume, common: Dataset, study: str, folder: Path) -> Iterator[Path]:
    """Write the slices; what is the same in all stands in `common`."""
    common.SeriesInstanceUID = _uid(study, "series")
    common.FrameOfReferenceUID = _uid(study, "frame of reference")
    common.SOPClassUID = CTImageStorage
    stored = np.clip(np.rint(volume.hu) - INTERCEPT_HU, *STORED).astype("<i2")
    for index, pixels in enumerate(stored):
        ds = Dataset(common)
        ds.SOPInstanceUID, ds.InstanceNumber = _uid(study, str(index)), index + 1
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


def _uid(study: str, what: str) -> str:
    return generate_uid(entropy_srcs=[study, what])


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


def _nobody(ds: Dataset, head: Deidentified) -> None:
    """Fill the same modules and say how the head was de-identified (PS3.3 C.7.1.1, C.12.1)."""
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = ds.PatientID = head.patient
    ds.PatientBirthDate = ds.PatientSex = ""
    ds.StudyInstanceUID, ds.StudyID, ds.AccessionNumber = head.study_instance_uid, "", ""
    ds.StudyDate = ds.StudyTime = ds.ReferringPhysicianName = ""
    ds.Modality, ds.SeriesNumber, ds.PositionReferenceIndicator = "CT", 1, ""
    ds.PatientPosition = ds.AcquisitionNumber = ds.KVP = ""
    ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    ds.Manufacturer, ds.ManufacturerModelName = head.manufacturer, head.model
    ds.ConvolutionKernel = head.kernel
    ds.LossyImageCompression = "01" if head.lossy else "00"
    ds.PatientIdentityRemoved, ds.LongitudinalTemporalInformationModified = "YES", "REMOVED"
    ds.RecognizableVisualFeatures = "NO" if head.faceless else "YES"
    profile = [codes.cid7050.BasicApplicationConfidentialityProfile]
    if head.faceless:
        profile += [
            codes.cid7050.CleanPixelDataOption,
            codes.cid7050.CleanRecognizableVisualFeaturesOption,
        ]
        ds.BurnedInAnnotation = "NO"
    ds.DeidentificationMethod = [code.meaning for code in profile]
    ds.DeidentificationMethodCodeSequence = [_coded(code) for code in profile]


def _coded(code: Code) -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator = code.value, code.scheme_designator
    ds.CodeMeaning = code.meaning
    return ds


def _plane(ds: Dataset, volume: Volume, index: int) -> None:
    """Say where a slice lies (Image Plane, PS3.3 C.7.6.2)."""
    ds.ImageOrientationPatient = [_ds(cosine) for cosine in volume.orientation]
    ds.ImagePositionPatient = [_ds(mm) for mm in volume.positions_mm[index]]
    ds.SliceLocation = _ds(volume.locations_mm[index])
    ds.PixelSpacing = [_ds(mm) for mm in volume.spacing_mm]
    ds.SliceThickness = "" if volume.thickness_mm is None else _ds(volume.thickness_mm)


def _pixels(ds: Dataset, pixels: NDArray[np.int16]) -> None:
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
