"""PHE-SICH-CT-IDS: spontaneous parenchymal bleeds, with boxes round bleed and oedema.

Ma et al., 2023. All patients bleed, so the set says nothing of normals. Blood in the ventricles is
not labelled, left and right are not verified.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.findings import SUBTYPES
from training.datasets.case import Case, DataSet, study_labels
from training.datasets.pictures import Row, read_series, rows_by_patient, volume_of

TABLE = "slices.csv"


def open_phe_sich(root: Path) -> DataSet:
    """Open the data set; `root` holds `TABLE` and the pictures that it names.

    Raises
    ------
    FileNotFoundError
        If the table is missing.
    """
    patients = rows_by_patient(root / TABLE, "slice")
    return DataSet(
        name="PHE-SICH-CT-IDS",
        site="phe_sich",
        citation="Ma C et al., PHE-SICH-CT-IDS: a benchmark CT image dataset, 2023",
        licence="published for research; no commercial use",
        loaders={patient: [partial(_read, root, rows)] for patient, rows in patients.items()},
        bleeding={
            patient: float(any(row["bleeds"] == "1" for row in rows))
            for patient, rows in patients.items()
        },
        bleeders_only=True,
    )


def _read(root: Path, rows: Sequence[Row]) -> Case:
    """Read one patient, from the feet to the head; a slice without a picture is left out."""
    patient, (kept, greys, problems) = rows[0]["patient"], read_series(root, rows)
    bleeds = np.array([float(row["bleeds"] or "nan") for row in kept], np.float32)
    labels = np.full((len(kept), len(SUBTYPES)), np.nan, np.float32)
    labels[:, SUBTYPES.index("intraparenchymal")] = bleeds
    return Case(
        name=patient,
        patient=patient,
        volume=volume_of(greys),
        labels=labels,
        bleeds=bleeds,
        study=study_labels(labels, bleeds),
        mask=None,
        boxes=np.stack([_boxes(row["boxes_xywh"], greys[0].shape) for row in kept]),
        kind="box",
        problems=tuple(problems),
    )


def _boxes(text: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(y, x) bool from "x y width height" of each box: centre and size, 0..1."""
    inside = np.zeros(shape, bool)
    for x, y, width, height in np.array(text.replace(";", " ").split(), float).reshape(-1, 4):
        (top, bottom), (left, right) = (
            np.clip(np.round([(at - size / 2) * n, (at + size / 2) * n]).astype(int), 0, n)
            for at, size, n in ((y, height, shape[0]), (x, width, shape[1]))
        )
        inside[top:bottom, left:right] = True
    return inside
