"""The papers' tables of one data set, and our own beside them: a module for each paper.

    Measured -> Scores, Labelled, Classes -> Table -> Markdown, JSON
                                          -> roc.png, precision-recall.png, reliability.png

Each module takes from what was measured what its paper's recipe trained (`tables`), and builds its
tables from plain arrays.
"""

from pathlib import Path

from training.metrics.figures import precision_recall_figure, reliability_figure, roc_figure
from training.papers import burduja, kang, own, wu, zhou
from training.papers.measured import Measured


def write(folder: Path, measured: Measured) -> None:
    """Write all tables and figures that the recipe's stages allow."""
    folder.mkdir(parents=True, exist_ok=True)
    for paper in (kang, burduja, wu, zhou, own):
        for table in paper.tables(measured):
            table.write(folder)
    curves = {"ensemble": measured.ensemble()} | kang.classifiers(measured)
    roc = roc_figure(curves, "Whether a case bleeds", measured.data)
    (folder / "roc.png").write_bytes(roc)
    found = precision_recall_figure(curves, "Whether a case bleeds", measured.data)
    (folder / "precision-recall.png").write_bytes(found)
    rules = measured.rules
    slices = {"ensemble, slices": measured.slabs(lambda case: rules.calibrate(case.peaks))}
    calibration = reliability_figure(slices, "Calibration of slices", measured.data)
    (folder / "reliability.png").write_bytes(calibration)
