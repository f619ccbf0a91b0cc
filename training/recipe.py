"""A recipe: what to train, on what and for how long, read from TOML."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from models.findings import SUBTYPES


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GridSize(_Strict):
    """The fine lattice; see `models.preprocess.Grid`."""

    rows: int = Field(multiple_of=16)
    columns: int = Field(multiple_of=16)
    step_mm: float = Field(gt=0)
    slab_mm: float = Field(gt=0)


class Phantoms(_Strict):
    """Phantoms beside the real slices: how many heads, from which seed on, and their share."""

    count: int = Field(gt=0)
    first_seed: int
    share: float = Field(ge=0, le=1)


class NetworkSize(_Strict):
    """See `models.unet.InceptionUNet`."""

    width: int = Field(multiple_of=4)
    depth: int = Field(gt=0)


class Stage(_Strict):
    """One network's training.

    Attributes
    ----------
    kind
        What it trains: the skull stripper, a base network or the weight model.
    start
        Name of the base network to start from; None starts at random.
    encoder_steps
        First steps that train the encoder on the subtype labels alone.
    subtype_loss, presence_loss
        Weights of these losses beside the segmentation loss.
    only
        Subtypes that its positive slices show.
    small_ml
        Keep to positive patients with at most this much hemorrhage.
    phantoms
        Share of phantom slices, where it is not the recipe's.
    hold_out
        Patients to learn nothing from, where it is not the split's training part: a fold.
    bases
        The weight model's base networks, in order.
    names_subtypes
        The base network whose subtype head the reader reads.
    """

    name: str
    kind: Literal["skullstrip", "base", "weights"]
    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    rate: float = Field(gt=0)
    start: str | None = None
    encoder_steps: int = 0
    subtype_loss: float = 0.0
    presence_loss: float = 0.3
    only: tuple[str, ...] = SUBTYPES
    small_ml: float | None = None
    phantoms: float | None = Field(None, ge=0, le=1)
    hold_out: tuple[int, ...] = ()
    bases: tuple[str, ...] = ()
    names_subtypes: str = ""


class Recipe(_Strict):
    """Everything that a training run depends on, but for the code and the data.

    Attributes
    ----------
    history
        For the model card: what the shipped weights saw that a new run of the recipe does not.
    caveat
        For the model card: how far the held-out figures can be trusted.
    """

    name: str
    history: str
    caveat: str
    seed: int
    runs: Path
    physionet: Path
    split: Path
    grid: GridSize
    phantoms: Phantoms
    network: NetworkSize
    stage: tuple[Stage, ...]

    def named(self, stage: str) -> Stage:
        """Return the stage of this name.

        Raises
        ------
        KeyError
            If there is none.
        """
        return {each.name: each for each in self.stage}[stage]


def read(path: Path) -> Recipe:
    """Read a recipe; paths in it count from the project's root (the working directory)."""
    return Recipe.model_validate(tomllib.loads(path.read_text()))
