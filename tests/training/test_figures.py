"""The curves are PNGs with something on them."""

import io

import numpy as np
from PIL import Image

from tests.support.simulated import DATA, scores
from training.figures import reliability_figure, roc_figure


def ink(png: bytes) -> float:
    """Share of pixels that are not white."""
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return float((np.asarray(image.convert("L")) < 200).mean())


def test_figures_are_pngs_with_ink_and_more_of_it_for_more_models() -> None:
    one = {"ensemble": scores()}
    more = one | {"VGG19": scores(0.5, seed=3), "none": scores().only(np.zeros(80, bool))}
    for draw in (roc_figure, reliability_figure):
        assert 0.005 < ink(draw(one, "Title", DATA)) < ink(draw(more, "Title", DATA)) < 0.5
