"""Constructed CT series: a head that knows its Hounsfield value at every point, and any defect.

The head is a function of patient coordinates without any symmetry, so a volume can be checked voxel
by voxel against the place where it claims to lie: a flip, a mirror, or a shift by one slice fails.
"""

import hashlib
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from models.volume import Volume
from node.cases.assemble import decide
from node.dicom.read.header import read_header
from node.outcomes import Outcome
from node.records import Case, Instance, Series, SeriesPlan, StoredObject
from node.settings import Assemble
from node.states import Priority, State

T0 = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)
INTERCEPT = -1024


def head_hu(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Whole Hounsfield units at (..., 3) patient coordinates (LPS, mm).

    A leaning ellipsoid of 70 x 90 x 80 mm half axes: air, skull, a brain whose values climb to the
    left, to the back and to the top at three different rates, and a clot on the left.
    """
    x, y, z = np.moveaxis(points, -1, 0)
    depth = np.sqrt(((x - 0.1 * z) / 70) ** 2 + (y / 90) ** 2 + (z / 80) ** 2)
    brain = 35 + 0.09 * x + 0.13 * y + 0.17 * z
    clot = (x - 30) ** 2 + (y + 20) ** 2 + 4 * (z - 10) ** 2 < 15**2
    values = np.select([depth > 1, depth > 0.93, clot], [-1000.0, 1100.0, 72.0], brain)
    return np.rint(values)


@dataclass(frozen=True)
class Scan:
    """What to scan and how; `build` makes its data sets, caudal first."""

    name: str = "head"
    study: str = "study"
    patient: str = "P1"
    gaps_mm: Sequence[float] = (5.0,) * 29
    start_mm: float = -72.0
    tilt_deg: float = 0.0
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0)
    """Of the untilted scan; the tilt turns it about the row direction."""
    rows: int = 56
    columns: int = 80
    spacing_mm: tuple[float, float] = (4.0, 2.5)
    thickness_mm: float | None = 5.0
    signed: bool = True
    bits_stored: int = 16
    acquisition: int = 1
    first_number: int = 1
    description: str = "Head 5.0 H31s"
    kernel: str = "H31s"
    changes: tuple[tuple[str, Any], ...] = ()
    """Attributes set, or deleted where the value is None, on every data set."""

    def __call__(self, **values: Any) -> "Scan":
        """Return the scan with other values."""
        return replace(self, **values)

    def having(self, **changes: Any) -> "Scan":
        """Return the scan with DICOM attributes set on every image; None deletes one."""
        return replace(self, changes=(*self.changes, *changes.items()))

    @property
    def cosines(self) -> NDArray[np.float64]:
        """(6,) float64, ImageOrientationPatient of the tilted scan."""
        row, column = np.array(self.orientation, float).reshape(2, 3)
        tilt = np.radians(self.tilt_deg)
        return np.r_[row, np.cos(tilt) * column - np.sin(tilt) * np.cross(row, column)]

    @property
    def positions_mm(self) -> NDArray[np.float64]:
        """(z, 3) float64: the table moves along the untilted normal, `gaps_mm` along the tilted."""
        row, column = np.array(self.orientation, float).reshape(2, 3)
        table = np.cross(row, column)
        along = self.start_mm + np.r_[0.0, np.cumsum(self.gaps_mm)] / np.cos(
            np.radians(self.tilt_deg)
        )
        corner = -(self.columns - 1) / 2 * self.spacing_mm[1] * self.cosines[:3]
        corner = corner - (self.rows - 1) / 2 * self.spacing_mm[0] * self.cosines[3:]
        return np.round(corner + along[:, None] * table, 6)

    def hu(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """(rows, columns) Hounsfield units of the slice at `position`."""
        return head_hu(grid(position, self.cosines, self.spacing_mm, self.rows, self.columns))

    def build(self) -> list[Dataset]:
        """One CT image for each slice."""
        return [self._image(index, at) for index, at in enumerate(self.positions_mm)]

    def _image(self, index: int, position: NDArray[np.float64]) -> Dataset:
        ds = self._common()
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = uid(self.study, self.name, str(self.first_number + index))
        ds.InstanceNumber = self.first_number + index
        ds.ImageOrientationPatient = decimals(self.cosines)
        ds.ImagePositionPatient = decimals(position)
        ds.PixelSpacing = decimals(self.spacing_mm)
        ds.SliceThickness = self.thickness_mm
        ds.ConvolutionKernel = self.kernel
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = INTERCEPT, 1, "HU"
        ds.PixelData = self._stored(self.hu(position)).tobytes()
        return self._changed(ds)

    def enhanced(
        self, order: Sequence[int] | None = None, *, shared_rescale: bool = False
    ) -> Dataset:
        """The same slices as one Enhanced CT image, its frames in `order`.

        Each frame has an intercept of its own, unless they share one.
        """
        positions = self.positions_mm[list(order or range(len(self.positions_mm)))]
        ds = self._common()
        ds.SOPClassUID = EnhancedCTImageStorage
        ds.SOPInstanceUID = uid(self.study, self.name, "enhanced")
        ds.InstanceNumber = 1
        ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        ds.NumberOfFrames = len(positions)
        shared = Dataset()
        shared.PixelMeasuresSequence = [
            item(PixelSpacing=decimals(self.spacing_mm), SliceThickness=self.thickness_mm)
        ]
        shared.PlaneOrientationSequence = [item(ImageOrientationPatient=decimals(self.cosines))]
        shared.CTReconstructionSequence = [item(ConvolutionKernel=self.kernel)]
        ds.SharedFunctionalGroupsSequence = [shared]
        frames, pixels = [], []
        for number, position in enumerate(positions):
            intercept = INTERCEPT if shared_rescale else INTERCEPT - number
            rescale = item(RescaleIntercept=intercept, RescaleSlope=1, RescaleType="HU")
            frame = item(PlanePositionSequence=[item(ImagePositionPatient=decimals(position))])
            (shared if shared_rescale else frame).PixelValueTransformationSequence = [rescale]
            frames.append(frame)
            pixels.append(self._stored(self.hu(position), intercept))
        ds.PerFrameFunctionalGroupsSequence = frames
        ds.PixelData = np.stack(pixels).tobytes()
        return self._changed(ds)

    def _common(self) -> Dataset:
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.PatientID, ds.PatientName, ds.PatientBirthDate = self.patient, "Test^Ж", "19600101"
        ds.PatientSex, ds.StudyID, ds.AccessionNumber = "O", "1", "A1"
        ds.StudyDate = ds.StudyTime = ds.ReferringPhysicianName = ""
        ds.StudyInstanceUID = uid(self.study)
        ds.SeriesInstanceUID = uid(self.study, self.name)
        ds.FrameOfReferenceUID = uid(self.study, "frame of reference")
        ds.Modality, ds.BodyPartExamined, ds.Manufacturer = "CT", "HEAD", "ichnode"
        ds.SeriesDescription = self.description
        ds.SeriesNumber, ds.AcquisitionNumber = 2, self.acquisition
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows, ds.Columns = self.rows, self.columns
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, self.bits_stored, self.bits_stored - 1
        ds.PixelRepresentation = int(self.signed)
        return ds

    def _stored(
        self, hu: NDArray[np.float64], intercept: int = INTERCEPT
    ) -> NDArray[np.int16 | np.uint16]:
        return (hu - intercept).astype("<i2" if self.signed else "<u2")

    def _changed(self, ds: Dataset) -> Dataset:
        for keyword, value in self.changes:
            change(ds, keyword, value)
        return ds


HEAD = Scan()
"""30 slices of 5 mm: the series that everything else is a change of."""


def grid(
    position: Sequence[float],
    cosines: Sequence[float],
    spacing: Sequence[float],
    rows: int,
    columns: int,
) -> NDArray[np.float64]:
    """(rows, columns, 3) patient coordinates of the voxels of a slice (PS3.3 C.7.6.2.1.1)."""
    down = np.arange(rows)[:, None, None] * spacing[0] * np.asarray(cosines[3:])
    across = np.arange(columns)[:, None] * spacing[1] * np.asarray(cosines[:3])
    return np.asarray(position) + down + across


def where_it_claims(volume: Volume) -> NDArray[np.float64]:
    """(z, y, x), the head's Hounsfield units where the volume's voxels claim to lie."""
    _, rows, columns = volume.hu.shape
    return np.stack(
        [
            head_hu(grid(p, volume.orientation, volume.spacing_mm, rows, columns))
            for p in volume.positions_mm
        ]
    )


def uid(*words: str) -> str:
    """Return the UID that belongs to these words."""
    return generate_uid(entropy_srcs=list(words))


def item(**values: Any) -> Dataset:
    """Return a data set with these attributes."""
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def decimals(values: Sequence[float]) -> list[str]:
    """Return decimal strings of at most 16 characters."""
    return [format_number_as_ds(float(value) + 0.0) for value in values]


def change(ds: Dataset, keyword: str, value: Any) -> None:
    """Set an attribute, or delete it where the value is None."""
    if value is None:
        if keyword in ds:
            del ds[keyword]
    else:
        setattr(ds, keyword, value)


Edit = Callable[[list[Dataset]], list[Dataset]]


def reverse(images: list[Dataset]) -> list[Dataset]:
    """Send the images in the opposite order."""
    return images[::-1]


def each(**values: Callable[[int], Any]) -> Edit:
    """Set attributes of every image from its index."""

    def edit(images: list[Dataset]) -> list[Dataset]:
        for index, ds in enumerate(images):
            for keyword, value in values.items():
                change(ds, keyword, value(index))
        return images

    return edit


def frame(index: int, group: str, **values: Any) -> Edit:
    """Replace a functional group of one frame of an Enhanced CT image; no values delete it."""

    def edit(images: list[Dataset]) -> list[Dataset]:
        groups = images[0].PerFrameFunctionalGroupsSequence[index]
        change(groups, group, [item(**values)] if values else None)
        return images

    return edit


def rescaled(rule: Callable[[int], tuple[float, float]]) -> Edit:
    """Store each image by the slope and intercept of its index, its Hounsfield units unchanged."""

    def edit(images: list[Dataset]) -> list[Dataset]:
        for index, ds in enumerate(images):
            slope, intercept = rule(index)
            stored = np.frombuffer(ds.PixelData, "<i2" if ds.PixelRepresentation else "<u2")
            hu = stored * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
            ds.PixelData = np.rint((hu - intercept) / slope).astype(stored.dtype).tobytes()
            ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
        return images

    return edit


def pixels(of: Callable[[NDArray[Any]], NDArray[Any]], *indices: int) -> Edit:
    """Replace the stored values, (frame, row, column), of these images (all, if none is named)."""

    def edit(images: list[Dataset]) -> list[Dataset]:
        for ds in [images[i] for i in indices] or images:
            dtype = "<i2" if ds.PixelRepresentation else "<u2"
            stored = np.frombuffer(ds.PixelData, dtype).reshape(-1, ds.Rows, ds.Columns)
            ds.PixelData = of(stored).astype(dtype).tobytes()
        return images

    return edit


def without(*indices: int) -> Edit:
    """Leave these images out."""
    return lambda images: [ds for i, ds in enumerate(images) if i not in indices]


def one(index: int, **changes: Any) -> Edit:
    """Change attributes of one image; None deletes one."""

    def edit(images: list[Dataset]) -> list[Dataset]:
        for keyword, value in changes.items():
            change(images[index], keyword, value)
        return images

    return edit


def again(index: int, **changes: Any) -> Edit:
    """Send one image a second time under a new SOPInstanceUID, with changes."""

    def edit(images: list[Dataset]) -> list[Dataset]:
        copy = deepcopy(images[index])
        copy.SOPInstanceUID = f"{copy.SOPInstanceUID[:60]}.1"
        for keyword, value in changes.items():
            change(copy, keyword, value)
        return [*images, copy]

    return edit


def plus(other: Scan) -> Edit:
    """Put the images of another scan into the same series."""

    def edit(images: list[Dataset]) -> list[Dataset]:
        more = other(first_number=1 + 1000 * other.acquisition).build()
        for ds in more:
            ds.SeriesInstanceUID = images[0].SeriesInstanceUID
        return [*images, *more]

    return edit


def encoded(ds: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Return the file of a data set, its pixels as they are."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    with DicomBytesIO() as file:
        dcmwrite(file, ds, enforce_file_format=True, implicit_vr=None, little_endian=None)
        return bytes(file.getvalue())


def compressed(ds: Dataset, transfer_syntax: str) -> bytes:
    """Return the file of a data set, its pixels compressed."""
    ds = dcmread(BytesIO(encoded(ds)))
    ds.compress(transfer_syntax, generate_instance_uid=False)
    with BytesIO() as file:
        ds.save_as(file, enforce_file_format=True)
        return file.getvalue()


def store(files: Sequence[bytes], root: Path) -> Series:
    """Write the files of one series to `root` and return it as the worklist would."""
    root.mkdir(parents=True, exist_ok=True)
    stored = []
    for data in files:
        sha256 = hashlib.sha256(data).hexdigest()
        (root / f"{sha256}.dcm").write_bytes(data)
        stored.append(StoredObject(f"{sha256}.dcm", sha256, len(data)))
    return received(files, stored)


def received(files: Sequence[bytes], stored: Sequence[StoredObject] | None = None) -> Series:
    """Return the files of one series as the worklist would, all received and released at T0."""
    stored = stored or [
        StoredObject(f"{n}.dcm", hashlib.sha256(data).hexdigest(), len(data))
        for n, data in enumerate(files)
    ]
    instances = tuple(
        Instance(read_header(data), place, T0) for data, place in zip(files, stored, strict=True)
    )
    header = instances[0].header
    return Series(header.series_instance_uid, header.study_instance_uid, instances, T0, T0, T0)


def series(scan: Scan, *edits: Edit) -> Series:
    """Build a scan with its defects and receive it."""
    images = scan.build()
    for edit in edits:
        images = edit(images)
    return received([encoded(ds) for ds in images])


def alone(received: Series) -> tuple[Outcome, SeriesPlan | None]:
    """Decide about a series that is all there is of its study, long after it came."""
    return decide(case_of(received), [received], [], Assemble(), T0 + timedelta(hours=1))


def case_of(received: Series, number: int = 1, **values: Any) -> Case:
    """Return a new case of the series, with other values."""
    case = Case(
        id=number,
        study_instance_uid=received.study_instance_uid,
        series_instance_uid=received.series_instance_uid,
        state=State.RECEIVING,
        priority=Priority.PENDING,
        attempts=0,
        folder=f"cases/{number}",
    )
    return replace(case, **values)
