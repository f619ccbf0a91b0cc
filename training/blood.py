"""Implanted blood beside real blood, in one picture.

    python -m training.blood PICTURE FOLDER ...

draws density and volume of each subtype in the tables that `training.batches.canvases` made in
these folders: under masks drawn in patients, under implants, and as measured in real lesions
(`training.phantoms.lesions`).
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from models.findings import SUBTYPES
from training.datasets.table import IMPLANTED, LABELS, Table
from training.metrics.figures import png
from training.phantoms.lesions import MEASURED_HU, MEASURED_ML

LEAST_PIXELS = 30
"""A slice with less blood says little of its density: 30 square mm."""


class Blood(NamedTuple):
    """Blood of one subtype in one case: mean density under its mask, HU, and its volume, mL."""

    hu: float
    ml: float


def blood_of(table: Table, *, implanted: bool) -> Mapping[str, list[Blood]]:
    """Return the blood of the cases that have one subtype alone, by subtype.

    Parameters
    ----------
    implanted
        Whether implants are asked for, or drawn masks of patients.
    """
    found: dict[str, list[Blood]] = {name: [] for name in SUBTYPES}
    for index, case in enumerate(table.cases):
        if case.site.endswith(IMPLANTED) != implanted or not case.drawn_ml > 0:
            continue
        rows = np.flatnonzero(table.case == index)
        shown = [name for name, label in zip(LABELS, case.study, strict=True) if label == 1][1:]
        slices = [table.slice(int(row)) for row in rows]
        dense = [each.hu[each.mask] for each in slices if each.mask.sum() >= LEAST_PIXELS]
        if len(shown) == 1 and dense:
            found[shown[0]].append(Blood(float(np.concatenate(dense).mean()), case.drawn_ml))
    return found


def blood_figure(real: Mapping[str, list[Blood]], implanted: Mapping[str, list[Blood]]) -> bytes:
    """Return a PNG: each case a point, the measured 5th to 95th percentile a bar behind them."""
    figure = Figure((9, 4.5), layout="constrained")
    axes = figure.subplots(1, 2)
    for place, name in enumerate(SUBTYPES):
        for axis, measured, of in (
            (axes[0], MEASURED_HU[name], lambda each: each.hu),
            (axes[1], MEASURED_ML[name], lambda each: each.ml),
        ):
            axis.plot(
                [place] * 2,
                (measured[0], measured[2]),
                color="0.85",
                lw=22,
                zorder=0,
                solid_capstyle="butt",
            )
            axis.plot([place - 0.2, place + 0.2], [measured[1]] * 2, color="0.6", zorder=1)
            for shift, color, cases in ((-0.12, "C3", real[name]), (0.12, "C0", implanted[name])):
                axis.plot([place + shift] * len(cases), list(map(of, cases)), ".", color=color)
    for axis, label in zip(axes, ("mean under the mask, HU", "volume, mL"), strict=True):
        axis.set_xticks(range(len(SUBTYPES)), SUBTYPES, rotation=20)
        axis.set_ylabel(label)
    axes[1].set_yscale("log")
    counts = (sum(map(len, each.values())) for each in (real, implanted))
    figure.suptitle(
        "Real blood (red, {} cases), implants (blue, {}), and 1,900 measured lesions (grey)\n"
        "Research use only".format(*counts),
        fontsize=9,
    )
    return png(figure)


if __name__ == "__main__":
    picture, *folders = map(Path, sys.argv[1:])
    whole = Table.open(folders)
    picture.write_bytes(
        blood_figure(blood_of(whole, implanted=False), blood_of(whole, implanted=True))
    )
