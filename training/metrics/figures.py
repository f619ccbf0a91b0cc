"""Curves of scores as PNG."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.metrics.scores import Scores
from training.metrics.statistics import brier, calibration_error, delong, reliability, roc_curve


def roc_figure(models: Mapping[str, Scores], title: str, data: str) -> bytes:
    """PNG of the ROC curves, each AUC with DeLong's interval (over patients) in the legend."""
    figure, axes = _figure(title, data)
    for name, scores in models.items():
        found = delong(scores.score, scores.truth, scores.patient)
        area, (low, high) = found.areas[0], found.intervals()[0]
        if np.isnan(area):
            axes.plot([], [], label=f"{name}: no case")
            continue
        label = f"{name}: {area:.3f} ({low:.3f} to {high:.3f})"
        axes.plot(*roc_curve(scores.score, scores.truth), label=label)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity")
    axes.legend(loc="lower right", fontsize="small", title="AUC (95 % interval, DeLong)")
    return png(figure)


def reliability_figure(models: Mapping[str, Scores], title: str, data: str) -> bytes:
    """PNG of the reliability diagram, a larger dot for more cases, Brier score and ECE beside."""
    figure, axes = _figure(title, data)
    for name, scores in models.items():
        if not len(scores.truth):
            axes.plot([], [], label=f"{name}: no case")
            continue
        found = reliability(scores.score, scores.truth)
        label = (
            f"{name}: Brier {brier(scores.score, scores.truth):.3f}, "
            f"ECE {calibration_error(scores.score, scores.truth):.3f}"
        )
        (line,) = axes.plot(found.predicted, found.observed, label=label)
        size = 20 + 400 * found.count / found.count.sum()
        axes.scatter(found.predicted, found.observed, size, color=line.get_color(), alpha=0.6)
    axes.set(xlabel="predicted probability", ylabel="share of positives")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="upper left", fontsize="small")
    return png(figure)


def precision_recall_figure(models: Mapping[str, Scores], title: str, data: str) -> bytes:
    """PNG of PPV against sensitivity, each with its average precision in the legend.

    PPV holds for the share of positives of these cases, which the title says.
    """
    figure = Figure(figsize=(7, 5.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for name, scores in models.items():
        if not scores.truth.any():
            axes.plot([], [], label=f"{name}: no case")
            continue
        # From the rates of the ROC curve, behind its first point, at which nothing is called.
        alarms, hits = (rate[1:] for rate in roc_curve(scores.score, scores.truth))
        share = scores.truth.mean()
        precision = share * hits / (share * hits + (1 - share) * alarms)
        average = float(np.sum(np.diff(hits, prepend=0) * precision))
        axes.step(hits, precision, where="pre", label=f"{name}: {average:.3f}")
    share = next(iter(models.values())).truth.mean()
    axes.set_title(f"{title}\n{data}, {share:.0%} positive - research use only", fontsize="medium")
    axes.set(xlabel="sensitivity", ylabel="PPV", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="lower left", fontsize="small", title="average precision")
    return png(figure)


def learning_curves(log: Path, stage: str) -> bytes:
    """PNG of a stage's losses by step, read from its `log.csv`: learnt from, and held out."""
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    step = np.array([float(row["step"]) for row in rows])
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(step, [float(row["loss"]) for row in rows], linewidth=0.6, label="learnt from")
    held_out = np.array([float(row["held_out"]) for row in rows])
    seen = np.isfinite(held_out)
    if seen.any():
        axes.plot(step[seen], held_out[seen], marker="o", label="held out, averaged weights")
    axes.set_title(f"{stage} - research use only", fontsize="medium")
    axes.set(xlabel="step", ylabel="loss")
    axes.legend(fontsize="small")
    return png(figure)


def _figure(title: str, data: str) -> tuple[Figure, Axes]:
    """Return a square with its diagonal under a title."""
    figure = Figure(figsize=(7, 5.6), dpi=120, layout="constrained")
    axes = figure.add_subplot(aspect="equal")
    axes.plot((0, 1), (0, 1), color="0.8", linewidth=1)
    axes.set_title(f"{title}\n{data} - research use only", fontsize="medium", wrap=True)
    return figure, axes


def png(figure: Figure) -> bytes:
    """Return the figure's PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
