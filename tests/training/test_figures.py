"""The curves are PNGs with something on them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.simulated import DATA, scores
from training.metrics.figures import (
    learning_curves,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
)


def ink(png: bytes) -> float:
    """Share of pixels that are not white."""
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return float((np.asarray(image.convert("L")) < 200).mean())


def test_figures_are_pngs_with_ink_and_more_of_it_for_more_models() -> None:
    one = {"ensemble": scores()}
    more = one | {"VGG19": scores(0.5, seed=3), "none": scores().only(np.zeros(80, bool))}
    for draw in (roc_figure, precision_recall_figure, reliability_figure):
        assert 0.005 < ink(draw(one, "Title", DATA)) < ink(draw(more, "Title", DATA)) < 0.5


def test_curves_show_what_is_held_out_where_it_was_measured(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    steps = [f"{step},{1 / (step + 1)},1e-3,{{}}" for step in range(20)]
    header = "step,loss,rate,held_out"
    log.write_text("\n".join((header, *(row.format("nan") for row in steps))))
    without = ink(learning_curves(log, "first"))
    log.write_text("\n".join((header, *(row.format(0.5) for row in steps))))
    assert 0.005 < without < ink(learning_curves(log, "first")) < 0.5
