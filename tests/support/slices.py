"""Training tables without a data set, and the labels of their slices."""

import numpy as np

from training.datasets.table import Located, Slice, Table, TabledCase

NAN = float("nan")
NORMAL, SUBDURAL, EPIDURAL = [0.0] * 6, [1, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 0]


def table(*cases: tuple[str, list[list[float]]], located: int = Located.NOWHERE) -> Table:
    """A table of (site, labels of each slice); all slices are brain of 30 HU."""
    labels = np.array([row for _, slices in cases for row in slices], np.float32)
    index = np.repeat(np.arange(len(cases)), [len(slices) for _, slices in cases])
    told = tuple(
        TabledCase(
            *(f"case {place}", f"patient {place}", site, "none", "slice", True, True),
            *((NAN,) * 6, NAN, len(slices)),
        )
        for place, (site, slices) in enumerate(cases)
    )
    planes = (len(labels), 48, 48)
    pixels = Slice(
        np.full(planes, 30, np.int16), np.full(planes, 255, np.uint8), np.ones(planes, bool)
    )
    return Table(
        told,
        index,
        np.array([f"{case.site}/{case.patient}" for case in told])[index],
        np.array([case.site for case in told])[index],
        labels,
        np.full(len(labels), located, np.uint8),
        (pixels,),
        frozenset(),
        frozenset(),
    )
