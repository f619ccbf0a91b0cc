"""Brain CT Hemorrhage of Near East Hospital, Cyprus: whole thin series, one label each.

Published on Kaggle by abdulkader90. Its terms are not stated: it serves to judge and to choose, and
shipped weights do not learn from it. Series marked "odd" were exported in another window.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from models.findings import SUBTYPES
from training.datasets.case import Case, DataSet
from training.datasets.pictures import Row, read_series, rows_by_patient, upwards, volume_of

TABLE = "series.csv"


def open_near_east(root: Path) -> DataSet:
    """Open the data set; `root` holds `TABLE` and a folder of pictures for each patient.

    Raises
    ------
    FileNotFoundError
        If the table is missing.
    """
    patients = rows_by_patient(root / TABLE, "order")
    return DataSet(
        name="Near East",
        site="near_east",
        citation="Brain CT Hemorrhage Dataset, Near East Hospital, Cyprus; Kaggle, abdulkader90",
        licence="terms not stated",
        loaders={patient: [partial(_read, root, rows)] for patient, rows in patients.items()},
        bleeding={patient: float(rows[0]["series_bleeds"]) for patient, rows in patients.items()},
        judge_only=True,
    )


def _read(root: Path, rows: Sequence[Row]) -> Case:
    """Read one series; of one that bleeds no slice's label is known, of one that does not each.

    Some series run from the vertex down: they are turned, told by the pictures.
    """
    patient, (_, greys, problems) = rows[0]["patient"], read_series(root, rows)
    fair = rows[0]["window"] != "odd"
    if not fair:
        problems.append(f"patient {patient}: another window, Hounsfield values are off")
    bleeds = rows[0]["series_bleeds"] == "1"
    known = np.nan if bleeds else 0.0
    volume = volume_of(greys)
    return Case(
        name=patient,
        patient=patient,
        volume=volume if upwards(volume) else replace(volume, hu=volume.hu[::-1].copy()),
        labels=np.full((len(greys), len(SUBTYPES)), known, np.float32),
        bleeds=np.full(len(greys), known, np.float32),
        study=np.array([float(bleeds), *[known] * len(SUBTYPES)], np.float32),
        mask=None,
        kind="series",
        fair_window=fair,
        problems=tuple(problems),
    )
