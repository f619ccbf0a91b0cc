"""Single slices of RSNA 2019 as pictures, of about as many patients, with six labels each.

Flanders et al., doi 10.1148/ryai.2020190211. A slice has no neighbours; its patient is not told,
so each slice stands for one. A few are in other windows, which nothing tells.
"""

import csv
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from models.findings import SUBTYPES
from training.datasets.case import Case, DataSet, Unreadable, study_labels
from training.datasets.pictures import read_grey, volume_of

TABLE = "slices.csv"
CITATION = (
    "Flanders AE et al., Construction of a machine learning dataset through collaboration: "
    "the RSNA 2019 Brain CT Hemorrhage Challenge, Radiol Artif Intell 2020;2(3):e190211"
)
LICENCE = "RSNA terms of use: research and education, no commercial use"


def open_slices(root: Path) -> DataSet:
    """Open the slices; `root` holds `TABLE` (file, any and five subtypes) and the pictures.

    Raises
    ------
    FileNotFoundError
        If the table is missing.
    """
    with (root / TABLE).open(newline="") as file:
        rows = {Path(row["file"]).stem: row for row in csv.DictReader(file)}
    return DataSet(
        name="RSNA 2019, single slices",
        site="rsna",
        citation=CITATION,
        licence=LICENCE,
        loaders={name: [partial(_read, root, row)] for name, row in rows.items()},
        bleeding={name: float(row["any"]) for name, row in rows.items()},
        neighbours=False,
    )


def _read(root: Path, row: Mapping[str, str]) -> Case:
    grey = read_grey(root / row["file"])
    if grey is None:
        raise Unreadable(f"{row['file']}: no picture")
    labels = np.array([[float(row[name]) for name in SUBTYPES]], np.float32)
    bleeds = np.array([float(row["any"])], np.float32)
    name = Path(row["file"]).stem
    return Case(
        name=name,
        patient=name,
        volume=volume_of([grey]),
        labels=labels,
        bleeds=bleeds,
        study=study_labels(labels, bleeds),
        mask=None,
        neighbours=False,
    )
