"""Small CT series with a lesion, and the plan and findings that go with them: input of reports."""

from copy import deepcopy
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage

from models.findings import SUBTYPES, Findings, SliceFinding
from models.volume import Volume
from node.records import SeriesPlan, SliceRef
from training.datasets.series import Identity, uid, write_series

SHAPE = (9, 60, 44)  # rows times columns is no multiple of 8 x 8


def tilted_volume(degrees: float = 18.5, gaps_mm: tuple[float, ...] = (5.0,) * 8) -> Volume:
    """Asymmetric head: a bright ball off centre in an egg, slices leaning and stepping along z."""
    z, y, x = np.indices(SHAPE)
    egg = ((z - 4) / 5.5) ** 2 + ((y - 31) / 26) ** 2 + ((x - 21) / 19) ** 2
    hu = np.where(egg < 1, 32, -1000) + np.where((egg < 1) & (egg > 0.85), 700, 0)
    hu = np.where(lesion(), 68, hu).astype(np.float32)
    lean = np.radians(degrees)
    along = np.r_[0.0, np.cumsum(gaps_mm)]
    positions = np.stack([np.full(9, -90.0), np.full(9, -140.5), 12.5 + along], axis=1)
    orientation = np.array([1, 0, 0, 0, np.cos(lean), -np.sin(lean)])
    return Volume(hu, positions, orientation, (1.7, 2.9), 5.0)


def lesion() -> np.ndarray:
    """(z, y, x) bool: a box with a corner bitten off, on slices 2 to 5 of 9."""
    mask = np.zeros(SHAPE, bool)
    mask[2:6, 14:23, 27:33] = True
    mask[4:, 14:18, 27:29] = False
    return mask


def findings(
    mask: np.ndarray, *, suspected: bool = True, uncertain: bool = False, voxel_ml: float = 0.0247
) -> Findings:
    """What a reader would say about `mask`."""
    area = mask.sum(axis=(1, 2))
    return Findings(
        probability=0.934 if suspected else 0.031,
        suspected=suspected,
        uncertainty=0.214 if uncertain else 0.04,
        uncertain=uncertain,
        volume_ml=float(area.sum() * voxel_ml),
        subtypes=dict(zip(SUBTYPES, (0.02, 0.91, 0.33, 0.12, 0.05), strict=True)),
        slices=tuple(SliceFinding(min(1.0, 0.02 + count / 60)) for count in area),
        key_slice=3 if suspected else None,
        mask=mask,
        heat=mask.astype(np.uint8) * 240,
        bundle="ich-ensemble@0.1.0",
        weights_sha256=sha256(b"weights").hexdigest(),
    )


def write(volume: Volume, root: Path, seed: str = "case") -> SeriesPlan:
    """Write the volume as a CT series below `root`; return the plan to read all of it."""
    paths = write_series(volume, root / "received" / seed, Identity.of(seed))
    return plan_of(paths, root)


def plan_of(paths: list[Path], root: Path, limitations: tuple[str, ...] = ()) -> SeriesPlan:
    """Return the plan to read these files, every frame, in this order."""
    headers = [dcmread(path, stop_before_pixels=True) for path in paths]
    slices = [
        _ref(path, root, ds, number)
        for path, ds in zip(paths, headers, strict=True)
        for number in range(1, int(ds.get("NumberOfFrames") or 1) + 1)
    ]
    first = headers[0]
    return SeriesPlan(
        str(first.StudyInstanceUID),
        str(first.SeriesInstanceUID),
        tuple(slices),
        decision="the only axial series",
        limitations=limitations,
    )


def _ref(path: Path, root: Path, ds: Dataset, number: int) -> SliceRef:
    holder = ds
    if "PerFrameFunctionalGroupsSequence" in ds:
        holder = ds.PerFrameFunctionalGroupsSequence[number - 1].PlanePositionSequence[0]
    position = holder.get("ImagePositionPatient")
    return SliceRef(
        path=path.relative_to(root).as_posix(),
        sha256=sha256(path.read_bytes()).hexdigest(),
        sop_class_uid=str(ds.SOPClassUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        frame_number=number,
        position_mm=tuple(float(mm) for mm in position) if position else None,
    )


def write_enhanced(volume: Volume, root: Path, objects: int = 2) -> SeriesPlan:
    """Write the volume as Enhanced CT, its slices dealt to some objects; the plan is in order."""
    template = dcmread(write_series(volume, root / "unused", Identity.of("enhanced"))[0])
    folder = root / "received" / "enhanced"
    folder.mkdir(parents=True)
    paths = []
    for number in range(objects):
        mine = list(range(number, len(volume.hu), objects))
        path = folder / f"{number}.dcm"
        _enhanced(template, volume, mine, number).save_as(path, enforce_file_format=True)
        paths.append(path)
    plan = plan_of(paths, root)
    in_order = sorted(plan.slices, key=lambda ref: ref.position_mm[2])
    return replace(plan, slices=tuple(in_order))


def _enhanced(template: Dataset, volume: Volume, indices: list[int], number: int) -> Dataset:
    ds = deepcopy(template)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        del ds[keyword]
    del ds.SliceThickness, ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    ds.SOPInstanceUID = uid("enhanced", str(number))
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.InstanceNumber = number + 1
    ds.NumberOfFrames = len(indices)
    shared = Dataset()
    shared.PlaneOrientationSequence = [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = list(volume.orientation.round(9))
    shared.PixelMeasuresSequence = [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = list(volume.spacing_mm)
    shared.PixelMeasuresSequence[0].SliceThickness = volume.thickness_mm
    shared.PixelValueTransformationSequence = [Dataset()]
    values = shared.PixelValueTransformationSequence[0]
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024, "HU"
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = []
    for index in indices:
        frame = Dataset()
        frame.PlanePositionSequence = [Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = list(volume.positions_mm[index])
        ds.PerFrameFunctionalGroupsSequence.append(frame)
    ds.PixelData = (volume.hu[indices] + 1024).astype("<i2").tobytes()
    return ds


def real_tilted_head(data: Path, root: Path) -> SeriesPlan:
    """Copy the real head below `root`; return the plan to read it from the feet to the head."""
    folder = root / "received" / "ge"
    folder.mkdir(parents=True)
    paths = []
    for path in (data / "ge_head_tilt").glob("*.dcm"):
        paths.append(folder / path.name)
        paths[-1].write_bytes(path.read_bytes())
    plan = plan_of(paths, root)
    return replace(plan, slices=tuple(sorted(plan.slices, key=lambda ref: ref.position_mm[2])))
