"""Volumes written as DICOM CT series: the input of the demo and of every test of the node.

The objects are complete CT Image Storage instances (PS3.3 A.3) in Explicit VR Little Endian, so
what a node does with them is what it does with a scanner's.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from models.volume import Volume

INTERCEPT_HU = -1024


@dataclass(frozen=True, slots=True)
class Identity:
    """Who was scanned, when, and under which identifiers the series goes.

    A second series of one study is `dataclasses.replace(identity, series_instance_uid=...,
    series_number=...)`.
    """

    patient_id: str
    patient_name: str
    birth_date: str
    sex: str
    accession_number: str
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    acquired: datetime = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)
    series_number: int = 2
    study_description: str = "CT HEAD WITHOUT CONTRAST"
    series_description: str = "AXIAL HEAD"

    @classmethod
    def of(cls, seed: str) -> Self:
        """Return the identity that belongs to `seed`: same seed, same identifiers."""
        number = UID(uid(seed, "patient")).rpartition(".")[2]
        return cls(
            patient_id=f"ICH{number[:8]}",
            patient_name=f"Phantom^{seed}",
            birth_date="19550401",
            sex="O",
            accession_number=f"A{number[8:16]}",
            study_instance_uid=uid(seed, "study"),
            series_instance_uid=uid(seed, "series"),
            frame_of_reference_uid=uid(seed, "frame of reference"),
        )


def uid(*entropy: str) -> str:
    """Return the UID that belongs to these words, the same in every run."""
    return generate_uid(entropy_srcs=list(entropy))


def write_series(
    volume: Volume,
    folder: Path,
    identity: Identity,
    *,
    signed: bool = True,
    bits_stored: int = 16,
    photometric: str = "MONOCHROME2",
    padding_hu: int | None = None,
    kernel: str = "H30s",
    images_in_acquisition: bool = False,
) -> list[Path]:
    """Write one CT instance for each slice of `volume` into `folder`, which is made if missing.

    Parameters
    ----------
    volume
        The slices; Hounsfield values are rounded to whole numbers.
    folder
        Where `0001.dcm` and its followers go, the most caudal slice first.
    identity
        Patient, study and series. SOP Instance UIDs derive from the series and the slice number.
    signed, bits_stored, photometric
        How pixels are stored: PixelRepresentation, BitsStored (of 16 allocated), and
        PhotometricInterpretation.
    padding_hu
        Value outside the reconstructed field, declared as PixelPaddingValue.
    kernel
        ConvolutionKernel.
    images_in_acquisition
        Whether to send ImagesInAcquisition, which tells a receiver when the series is complete.

    Returns
    -------
    list[Path]
        The files, in the order of the volume's slices.

    Raises
    ------
    ValueError
        If a Hounsfield value does not fit into the bits chosen.
    """
    stored = _stored(volume, signed, bits_stored)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, pixels in enumerate(stored):
        ds = _instance(volume, identity, index, kernel)
        _pixels(ds, pixels, signed, bits_stored, photometric)
        if padding_hu is not None:
            ds.PixelPaddingValue = padding_hu - INTERCEPT_HU
        if images_in_acquisition:
            ds.ImagesInAcquisition = len(stored)
        path = folder / f"{index + 1:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _instance(volume: Volume, identity: Identity, index: int, kernel: str) -> Dataset:
    """Return the CT instance of one slice, without its pixels."""
    ds = Dataset()
    _patient_and_study(ds, identity)
    _series_and_equipment(ds, identity)
    _plane(ds, volume, index)
    _acquisition(ds, volume, kernel)
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = uid(identity.series_instance_uid, str(index))
    ds.InstanceNumber = index + 1
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def _stored(volume: Volume, signed: bool, bits_stored: int) -> np.ndarray:
    """Return the stored values of all slices, (z, y, x) int16 or uint16."""
    values = np.rint(volume.hu).astype(np.int32) - INTERCEPT_HU
    lowest = -(1 << (bits_stored - 1)) if signed else 0
    highest = lowest + (1 << bits_stored) - 1
    if values.min() < lowest or values.max() > highest:
        raise ValueError(
            f"{values.min()}..{values.max()} does not fit {lowest}..{highest}: "
            "clip the volume, or choose other bits"
        )
    return values.astype("<i2" if signed else "<u2")


def _patient_and_study(ds: Dataset, identity: Identity) -> None:
    """Fill the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1)."""
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = identity.patient_name
    ds.PatientID = identity.patient_id
    ds.PatientBirthDate = identity.birth_date
    ds.PatientSex = identity.sex
    ds.StudyInstanceUID = identity.study_instance_uid
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = (
        f"{identity.acquired:%Y%m%d}"
    )
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = (
        f"{identity.acquired:%H%M%S}"
    )
    ds.TimezoneOffsetFromUTC = f"{identity.acquired:%z}"
    ds.AccessionNumber = identity.accession_number
    ds.ReferringPhysicianName = ""
    ds.StudyID = "1"
    ds.StudyDescription = identity.study_description


def _series_and_equipment(ds: Dataset, identity: Identity) -> None:
    """Fill General Series, Frame of Reference and General Equipment (PS3.3 C.7.3 to C.7.5)."""
    ds.Modality = "CT"
    ds.SeriesInstanceUID = identity.series_instance_uid
    ds.SeriesNumber = identity.series_number
    ds.SeriesDescription = identity.series_description
    ds.BodyPartExamined = "HEAD"
    ds.PatientPosition = "HFS"
    ds.FrameOfReferenceUID = identity.frame_of_reference_uid
    ds.PositionReferenceIndicator = ""
    ds.Manufacturer = "ichnode"
    ds.ManufacturerModelName = "phantom"
    ds.SoftwareVersions = "1"


def _plane(ds: Dataset, volume: Volume, index: int) -> None:
    """Say where slice `index` lies (Image Plane, PS3.3 C.7.6.2)."""
    ds.ImageOrientationPatient = [_ds(cosine) for cosine in volume.orientation]
    ds.ImagePositionPatient = [_ds(mm) for mm in volume.positions_mm[index]]
    ds.SliceLocation = _ds(volume.locations_mm[index])
    ds.PixelSpacing = [_ds(mm) for mm in volume.spacing_mm]
    ds.SliceThickness = "" if volume.thickness_mm is None else _ds(volume.thickness_mm)


def _acquisition(ds: Dataset, volume: Volume, kernel: str) -> None:
    """Fill the CT Image module's account of the scan (PS3.3 C.8.2.1)."""
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.AcquisitionNumber = 1
    ds.KVP = 120
    ds.XRayTubeCurrent = 250
    ds.ExposureTime = 1000
    ds.ConvolutionKernel = kernel
    # A positive tilt moves the anterior edge of the plane towards the head, as GE scanners have it.
    ds.GantryDetectorTilt = _ds(-np.degrees(np.arcsin(volume.orientation[5])))


def _pixels(
    ds: Dataset, pixels: np.ndarray, signed: bool, bits_stored: int, photometric: str
) -> None:
    """Store one slice and what its values mean (Image Pixel, Modality LUT, VOI LUT)."""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = photometric
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated = 16
    ds.BitsStored = bits_stored
    ds.HighBit = bits_stored - 1
    ds.PixelRepresentation = int(signed)
    ds.RescaleIntercept = INTERCEPT_HU
    ds.RescaleSlope = 1
    ds.RescaleType = "HU"
    ds.WindowCenter = 40
    ds.WindowWidth = 80
    ds.PixelData = pixels.tobytes()


def _ds(value: float) -> str:
    """Return a decimal string of at most 16 characters (PS3.5 6.2)."""
    return format_number_as_ds(float(value) + 0.0)
