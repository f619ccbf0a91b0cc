"""NIfTI head CT with label maps: BHSD, INSTANCE 2022 and PhysioNet CT-ICH 1.3.1.

A NIfTI affine leads to RAS+ millimetres and may point any way; a volume has DICOM's LPS+ and slices
from the feet to the head. Axes are turned and flipped to the nearest of L, P, S, never resampled;
what is oblique stays oblique.
"""

import csv
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
from nibabel import orientations
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from models.findings import SUBTYPES
from models.volume import Volume
from training.datasets.case import (
    Case,
    DataSet,
    Labels,
    Unreadable,
    finest,
    known_any,
    study_labels,
)

AIR_HU = -1024

BHSD_CODES = {
    1: "epidural",
    2: "intraparenchymal",
    3: "intraventricular",
    4: "subarachnoid",
    5: "subdural",
}


@dataclass(frozen=True, slots=True)
class Scan:
    """One image file and its label map.

    Attributes
    ----------
    volume
        Slices from the feet to the head.
    codes
        (z, y, x) int16, the label map; None if there is none or it cannot be used.
    of_file
        (z,) int, the place of each slice along the file's third axis, from 0.
    problems
        One line each.
    """

    volume: Volume
    codes: NDArray[np.int16] | None
    of_file: NDArray[np.intp]
    problems: tuple[str, ...]


def read_scan(image: Path, label: Path | None) -> Scan:
    """Read an image and its label map, which belong together voxel by voxel.

    A label map of another shape is refused; one whose affine differs is taken, as the data sets'
    own programs do, and named.

    Raises
    ------
    Unreadable
        If the image is missing, broken, or its affine does not say where the slices lie.
    """
    opened = _open(image)
    problems = []
    if not (opened.header["sform_code"] or opened.header["qform_code"]):
        problems.append(f"{image.name}: records no orientation, taken as nibabel does")
    turn = orientations.ornt_transform(
        orientations.io_orientation(opened.affine), orientations.axcodes2ornt("LPS")
    )
    if np.isnan(turn).any() or turn[2, 0] != 2:
        raise Unreadable(f"{image.name}: its third axis does not run between feet and head")
    volume = _volume(image, opened, turn)
    codes = None
    if label is not None:
        try:
            drawn = _open(label)
            if drawn.shape != opened.shape:
                raise Unreadable(f"{label.name}: shape {drawn.shape}, its image {opened.shape}")
            if not np.allclose(drawn.affine, opened.affine, atol=1e-2):
                problems.append(f"{label.name}: another affine than its image, taken by voxel")
            codes = np.round(_turned(label, drawn, turn)).astype(np.int16)
        except Unreadable as error:
            problems.append(f"{error}; mask left out")
    places = np.arange(len(volume.hu))[:: int(turn[2, 1])]
    return Scan(volume, codes, places, tuple(problems))


def _open(path: Path) -> nibabel.Nifti1Image:
    try:
        image = nibabel.funcs.squeeze_image(nibabel.load(path))
    except FileNotFoundError as error:
        raise Unreadable(f"{path.name}: missing") from error
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise Unreadable(f"{path.name}: {error}") from error
    if len(image.shape) != 3 or not np.all(np.isfinite(image.affine)):
        raise Unreadable(f"{path.name}: shape {image.shape}, not one volume with a place in space")
    return image


def _turned(
    path: Path, image: nibabel.Nifti1Image, turn: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(z, y, x) float32, x towards L, y towards P, z towards S."""
    try:
        values = image.get_fdata(dtype=np.float32, caching="unchanged")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise Unreadable(f"{path.name}: its voxels cannot be read ({error})") from error
    return np.ascontiguousarray(orientations.apply_orientation(values, turn).transpose(2, 1, 0))


def _volume(path: Path, image: nibabel.Nifti1Image, turn: NDArray[np.float64]) -> Volume:
    hu = _turned(path, image, turn)
    affine = image.affine @ orientations.inv_ornt_aff(turn, image.shape)
    affine = np.diag((-1.0, -1.0, 1.0, 1.0)) @ affine  # RAS to LPS
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    row, column = affine[:3, 0] / spacing[0], affine[:3, 1] / spacing[1]
    if abs(row @ column) > 0.01:
        raise Unreadable(f"{path.name}: rows and columns are not at right angles")
    places = np.arange(len(hu))[:, None]
    try:
        return Volume(
            hu=np.maximum(np.nan_to_num(hu, nan=AIR_HU), np.float32(AIR_HU)),
            positions_mm=affine[:3, 3] + places * affine[:3, 2],
            orientation=np.concatenate((row, column)),
            spacing_mm=(float(spacing[1]), float(spacing[0])),
        )
    except ValueError as error:
        raise Unreadable(f"{path.name}: {error}") from error


def open_bhsd(root: Path, images: str = "images", masks: str = "ground truths") -> DataSet:
    """Open the 192 volumes of BHSD with a label map (the folder `label_192`).

    The images come from RSNA 2019: a detector that was trained on RSNA must not be tested on them.
    Public file names look like `<PatientID>_<StudyInstanceUID>.nii.gz` of RSNA; where they do,
    `patient` is that PatientID and the overlap with an RSNA split can be found, where they do not
    (a renamed copy) no check by name is possible: then keep the whole set out.
    """
    return _pairs(
        root / images,
        root / masks,
        BHSD_CODES,
        name="BHSD",
        site="rsna",
        citation=(
            "Wu B et al., BHSD: a 3D multi-class brain hemorrhage segmentation dataset, MLMI 2023, "
            "arXiv:2308.11298"
        ),
        licence="MIT for the annotations; the images are RSNA's, under its terms of use",
    )


def open_instance(
    root: Path, images: str = "train_2/data", masks: str = "train_2/label"
) -> DataSet:
    """Open the 100 training volumes of INSTANCE 2022; a bleeding slice's subtypes are unknown."""
    return _pairs(
        root / images,
        root / masks,
        {},
        name="INSTANCE 2022",
        site="instance",
        citation=(
            "Li X et al., The state-of-the-art 3D anisotropic intracranial hemorrhage segmentation "
            "on non-contrast head CT: the INSTANCE challenge, arXiv:2301.03281"
        ),
        licence="by agreement with the organisers, research only",
    )


def _pairs(
    images: Path,
    masks: Path,
    codes: Mapping[int, str],
    *,
    name: str,
    site: str,
    citation: str,
    licence: str,
) -> DataSet:
    if not images.is_dir():
        raise FileNotFoundError(f"{name}: no folder {images}")
    files = {path.name.partition(".")[0]: path for path in sorted(images.glob("*.nii*"))}
    drawn = {path.name.partition(".")[0]: path for path in sorted(masks.glob("*.nii*"))}
    loaders = defaultdict(list)
    for case, path in files.items():
        patient = case.partition("_ID_")[0]
        loaders[patient].append(partial(_read_pair, case, patient, path, drawn.get(case), codes))
    return DataSet(
        name=name,
        site=site,
        citation=citation,
        licence=licence,
        loaders=loaders,
        bleeding=dict.fromkeys(loaders, float("nan")),
        problems=[f"{drawn[case].name}: mask without an image" for case in drawn.keys() - files],
    )


def _read_pair(
    case: str, patient: str, image: Path, mask: Path | None, codes: Mapping[int, str]
) -> Case:
    scan = read_scan(image, mask)
    problems = list(scan.problems)
    if mask is None:
        problems.append(f"{image.name}: no mask")
    labels, bleeds = labels_of(scan, codes)
    if codes and scan.codes is not None and (others := np.setdiff1d(scan.codes, [0, *codes])).size:
        problems.append(f"{image.name}: mask holds the unknown codes {others.tolist()}")
    return Case(
        name=case,
        patient=patient,
        volume=scan.volume,
        labels=labels,
        bleeds=bleeds,
        study=study_labels(labels, bleeds),
        mask=None if scan.codes is None else scan.codes > 0,
        kind=finest(scan.codes),
        problems=tuple(problems),
    )


def labels_of(scan: Scan, codes: Mapping[int, str]) -> tuple[Labels, Labels]:
    """(z, 5) and (z,) labels from a label map.

    All are unknown without a label map, the subtypes of a bleeding slice without `codes`.
    """
    if scan.codes is None:
        unknown = np.full((len(scan.volume.hu), len(SUBTYPES)), np.nan, np.float32)
        return unknown, known_any(unknown, axis=1)
    bleeds = np.asarray((scan.codes > 0).any((1, 2)), np.float32)
    if not codes:
        some = np.where(bleeds == 0, np.float32(0), np.float32(np.nan))
        return np.repeat(some[:, None], len(SUBTYPES), axis=1), bleeds
    code_of = {subtype: code for code, subtype in codes.items()}
    shown = [(scan.codes == code_of[subtype]).any((1, 2)) for subtype in SUBTYPES]
    return np.stack(shown, axis=1).astype(np.float32), bleeds


def open_physionet(root: Path) -> DataSet:
    """Open PhysioNet CT-ICH 1.3.1: `ct_scans/049.nii`, `masks/049.nii` and two tables.

    Patients have the numbers of release 1.0.0, so its splits hold. The table counts slices from 1
    along the file's third axis, as the data set's own `split_raw_data.py` reads them. Patients of
    `patient_demographics.csv` without a scan (59 to 65 in the release) are named.

    Raises
    ------
    FileNotFoundError
        If `hemorrhage_diagnosis_raw_ct.csv` is missing.
    """
    rows: defaultdict[str, dict[int, Labels]] = defaultdict(dict)
    problems = []
    with (root / "hemorrhage_diagnosis_raw_ct.csv").open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            patient, place = str(int(row["PatientNumber"])), int(row["SliceNumber"]) - 1
            values = [float(row[subtype.capitalize()]) for subtype in SUBTYPES]
            if place in rows[patient]:
                problems.append(
                    f"patient {patient}, slice {place + 1}: two rows, the last is taken"
                )
            rows[patient][place] = np.array((1 - float(row["No_Hemorrhage"]), *values), np.float32)
    scans = {str(int(path.stem)): path for path in sorted((root / "ct_scans").glob("*.nii"))}
    listed = _numbers(root / "patient_demographics.csv")
    problems += [
        f"patient {patient}: no scan"
        for patient in sorted({*listed, *rows}, key=int)
        if patient not in scans
    ]
    problems += [f"patient {patient}: scan without labels" for patient in scans.keys() - rows]
    return DataSet(
        name="PhysioNet CT-ICH 1.3.1",
        site="physionet",
        citation=(
            "Hssayeni MD et al., Intracranial hemorrhage segmentation using a deep convolutional "
            "model, Data 2020;5(1):14; PhysioNet doi 10.13026/4nae-zg36"
        ),
        licence="PhysioNet Restricted Health Data License 1.5.0",
        loaders={
            patient: [partial(_read_physionet, root, patient, path, rows.get(patient, {}))]
            for patient, path in scans.items()
        },
        bleeding={
            patient: float(known_any(np.array([r[0] for r in rows[patient].values()]), axis=0))
            if patient in rows
            else float("nan")
            for patient in scans
        },
        problems=problems,
    )


def _numbers(path: Path) -> list[str]:
    """Patient numbers of the demographics; the header spans lines and its fields hold newlines."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8-sig") as file:
        return [str(int(row[0])) for row in csv.reader(file) if row and row[0].strip().isdecimal()]


def _read_physionet(root: Path, patient: str, image: Path, rows: Mapping[int, Labels]) -> Case:
    scan = read_scan(image, root / "masks" / image.name)
    unknown = np.full(1 + len(SUBTYPES), np.nan, np.float32)
    known = np.stack([rows.get(int(place), unknown) for place in scan.of_file])
    bleeds, labels = known[:, 0], known[:, 1:]
    problems = [*scan.problems]
    if missing := int(np.isnan(bleeds).sum()):
        problems.append(f"{image.name}: {missing} slices of {len(known)} without labels")
    if beyond := rows.keys() - set(scan.of_file.tolist()):
        problems.append(f"{image.name}: labels for {len(beyond)} slices that the scan has not")
    mask = None if scan.codes is None else scan.codes > 0
    if mask is not None:
        bare = scan.of_file[(bleeds == 1) & ~mask.any((1, 2))]
        problems += _bare(image, np.sort(bare + 1).tolist())
    return Case(
        name=image.stem,
        patient=patient,
        volume=scan.volume,
        labels=labels,
        bleeds=bleeds,
        study=study_labels(labels, bleeds),
        mask=mask,
        kind=finest(mask),
        problems=tuple(problems),
    )


def _bare(image: Path, slices: Sequence[int]) -> list[str]:
    return [f"{image.name}, slice {n}: labelled hemorrhage without a mask" for n in slices]
