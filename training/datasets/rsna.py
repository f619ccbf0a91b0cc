"""RSNA 2019 Intracranial Hemorrhage Detection: DICOM slices with six labels each, no masks.

Flanders et al., Radiology: Artificial Intelligence 2020, 2(3):e190211,
doi 10.1148/ryai.2020190211. The files carry no SOPClassUID, InstanceNumber or dates, and UIDs such
as "ID_1f6d1e8aeb"; a series is what shares a SeriesInstanceUID, a patient a PatientID.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from models.findings import SUBTYPES
from training.datasets import rsna_slices
from training.datasets.case import Case, DataSet, Labels, known_any, study_labels
from training.datasets.dicom import Header, index, read_stack
from training.datasets.rsna_slices import CITATION, LICENCE

TABLE = "stage_2_train.csv"
FOLDERS = ("stage_2_train", "stage_2_train_images")
TYPES = ("any", *SUBTYPES)
UNKNOWN = np.full(len(TYPES), np.nan, np.float32)


def open_rsna(root: Path, cache: Path | None = None) -> DataSet:
    """Open the training part of the second stage, the only one with public labels.

    Parameters
    ----------
    root
        Holds `TABLE` and one of `FOLDERS` with `ID_<9 hex>.dcm`; or the pictures of single slices
        that `training.datasets.rsna_slices` reads.
    cache
        File that keeps the index of the 750,000 headers, see `training.datasets.dicom.index`; it
        is `index.jsonl` in `root` unless told otherwise.

    Raises
    ------
    FileNotFoundError
        If the table or the folder is missing.
    """
    if (root / rsna_slices.TABLE).exists():
        return rsna_slices.open_slices(root)
    labels, problems = read_labels(root / TABLE)
    folder = next((name for name in FOLDERS if (root / name).is_dir()), None)
    if folder is None:
        raise FileNotFoundError(f"{root}: neither of the folders {' and '.join(FOLDERS)}")
    paths = sorted(path.relative_to(root).as_posix() for path in (root / folder).glob("*.dcm"))
    headers = index(root, paths, cache or root / "index.jsonl")
    there = {_image(path) for path in paths}
    problems += [f"{name}: labelled, but there is no file" for name in labels if name not in there]
    problems += [f"{name}: no label" for name in sorted(there - labels.keys())]
    problems += [header.problem for header in headers if header.problem]
    patients = _by_series([header for header in headers if not header.problem])

    def of(slices: Sequence[Header]) -> dict[str, Labels]:
        return {name: labels.get(name, UNKNOWN) for name in (_image(s.path) for s in slices)}

    return DataSet(
        name="RSNA 2019",
        site="rsna",
        citation=CITATION,
        licence=LICENCE,
        loaders={
            patient: [partial(_read, root, slices, of(slices)) for slices in series.values()]
            for patient, series in sorted(patients.items())
        },
        bleeding={
            patient: _bleeding([label for s in series.values() for label in of(s).values()])
            for patient, series in sorted(patients.items())
        },
        problems=problems,
    )


def _by_series(headers: Sequence[Header]) -> Mapping[str, Mapping[str, list[Header]]]:
    """Return the headers by patient, then by series."""
    patients: defaultdict[str, defaultdict[str, list[Header]]]
    patients = defaultdict(lambda: defaultdict(list))
    for header in headers:
        patients[header.patient][header.series].append(header)
    return patients


def read_labels(path: Path) -> tuple[dict[str, Labels], list[str]]:
    """(6,) labels of each image in the order of `TYPES`, and what is wrong with the table.

    The published table repeats some rows: they are dropped and counted. Where copies contradict
    each other the label is unknown (ours; none is known to).
    """
    labels: defaultdict[str, Labels] = defaultdict(UNKNOWN.copy)
    column = {name: place for place, name in enumerate(TYPES)}
    problems = []
    again = 0
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            image, _, name = (row["ID"] or "").rpartition("_")
            if name not in column or row["Label"] not in ("0", "1"):
                problems.append(f"{path.name}: no label in the row {row['ID']},{row['Label']}")
                continue
            value, seen = float(row["Label"]), labels[image][column[name]]
            again += not np.isnan(seen)
            if not np.isnan(seen) and seen != value:
                problems.append(f"{row['ID']}: labelled both 0 and 1, taken as unknown")
                value = np.nan
            labels[image][column[name]] = value
    if again:
        problems.append(f"{path.name}: {again} rows repeat an image and type, dropped")
    return dict(labels), problems


def _read(root: Path, headers: Sequence[Header], labels: Mapping[str, Labels]) -> Case:
    stack = read_stack(root, headers)
    known = np.stack([labels[_image(header.path)] for header in stack.headers])
    bleeds, subtypes = known[:, 0], known[:, 1:]
    return Case(
        name=headers[0].series,
        patient=headers[0].patient,
        volume=stack.volume,
        labels=subtypes,
        bleeds=bleeds,
        study=study_labels(subtypes, bleeds),
        mask=None,
        problems=stack.problems,
    )


def _bleeding(labels: Sequence[Labels]) -> float:
    return float(known_any(np.array([label[0] for label in labels]), axis=0))


def _image(path: str) -> str:
    return Path(path).stem
