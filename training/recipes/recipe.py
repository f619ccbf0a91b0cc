"""A recipe: what to train, on what and for how long, read from TOML."""

import tomllib
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, PrivateAttr, ValidationError, model_validator

import models
from models.preprocess import Grid
from training.recipes.data import AnyData, Data, Phantoms, RecipePath, Strict, spelled_out
from training.recipes.stages import AnyStage, Base, Lite, Stage

BUNDLE = Path(models.__file__).parent / "bundles" / "ich-ensemble"
"""The networks that ichnode ships."""


class BadRecipe(ValueError):
    """The recipe cannot be trained as it stands; the message says why."""


class GridSize(Strict):
    """The fine lattice; see `models.preprocess.Grid`."""

    rows: int = Field(208, multiple_of=16)
    columns: int = Field(176, multiple_of=16)
    step_mm: float = Field(1.0, gt=0)
    slab_mm: float = Field(5.0, gt=0)

    @property
    def lattice(self) -> Grid:
        """The lattice itself."""
        return Grid(**self.model_dump())

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns


class NetworkSize(Strict):
    """See `models.unet.InceptionUNet`."""

    width: int = Field(32, multiple_of=4)
    depth: int = Field(3, gt=0)


S = TypeVar("S", bound=Stage)


class Recipe(Strict):
    """Everything that a training run depends on, besides the code and the data.

    Attributes
    ----------
    data
        What is learnt from and what judges; several data sets are drawn from alike.
    folds
        Number of folds that the patients are dealt into, see `spelled_out`; 0 keeps to the splits.
    leave_site_out
        Sites that twins of the stages with shares learn nothing from, see `spelled_out`.
    shipped
        Whether the weights may go into a bundle. A recipe that learns from data whose terms are not
        stated says false.
    history
        For the model card: what the shipped weights saw that a new run of the recipe does not.
    caveat
        For the model card: how far the held-out figures can be trusted.
    runs
        Where stages are trained, a folder for each recipe.
    bf16
        Compute convolutions in bfloat16; the weights are float32.
    checkpoint_every
        Steps between checkpoints.
    implants
        How often hemorrhages are put into each normal patient's head: each time another head.
    bundle
        The ensemble that an evaluation measures.
    ensemble
        Which ensemble, model of scans and skull stripper an export takes: those that the recipe
        trained, or those of `bundle`.
    slices
        Stages of kind "lite" whose networks an export puts beside the ensemble; the mean of their
        logits counts.
    strip
        Whose skull stripper finds heads: the recipe's own, if it has that stage, or the shipped.
    cross_validation
        What the evaluation of another recipe, with folds, gave: an export locks the operating point
        on it.
    test_phantoms
        Phantoms of the test range that an evaluation reads.
    peers
        By site the CSV file of what others say of its patients: patient, bleeding, then a column
        of scores for each peer.
    """

    name: str
    history: str = ""
    caveat: str = ""
    seed: int
    runs: RecipePath
    data: tuple[AnyData, ...]
    folds: int = Field(0, ge=0)
    leave_site_out: tuple[str, ...] = ()
    shipped: bool = True
    bf16: bool = True
    checkpoint_every: int = Field(50, gt=0)
    implants: int = Field(6, gt=0)
    bundle: RecipePath = BUNDLE
    ensemble: Literal["own", "shipped"] = "own"
    slices: tuple[str, ...] = ()
    strip: Literal["own", "shipped"] = "own"
    cross_validation: RecipePath | None = None
    test_phantoms: int = Field(400, gt=0)
    peers: dict[str, RecipePath] = Field(default_factory=dict)
    grid: GridSize = GridSize()
    network: NetworkSize = NetworkSize()
    stage: tuple[AnyStage, ...]
    _written: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _stages_exist(self) -> Self:
        names = [each.name for each in self.stage]
        if len(set(names)) < len(names):
            raise ValueError(f"a stage is there twice: {', '.join(names)}")
        for each in self.stage:
            if fault := each.fault(names):
                raise ValueError(fault)
            share = self.phantoms.share if each.phantoms is None else each.phantoms
            if share > 0 and not self.phantoms.count:
                raise ValueError(f"stage {each.name!r} has a share of phantoms: [[data]] has none")
            if share < 1 and not any(told.role == "train" for told in self.patients):
                raise ValueError(f"stage {each.name!r} learns from patients: [[data]] has none")
        sizes = {lite.name: lite.size for lite in self.every(Lite)}
        if unknown := [name for name in self.slices if name not in sizes]:
            raise ValueError(f"slices: there is no stage {unknown[0]!r} of kind 'lite'")
        if len({sizes[name] for name in self.slices}) > 1:
            raise ValueError("slices: their stages differ in rows or columns")
        return self

    @property
    def phantoms(self) -> Phantoms:
        """The phantoms that are learnt from."""
        return next((each for each in self.data if isinstance(each, Phantoms)), Phantoms())

    @property
    def patients(self) -> list[Data]:
        """The data sets of patients."""
        return [each for each in self.data if isinstance(each, Data)]

    @property
    def crossed(self) -> list[Base]:
        """The base networks that hold patients out, without those that others start from."""
        bases = self.every(Base)
        begun = {stage.start for stage in bases}
        return [stage for stage in bases if stage.holds_out and stage.name not in begun]

    @property
    def as_written(self) -> dict[str, Any]:
        """The recipe's TOML: without this machine's paths, and with its short forms."""
        return self._written

    def every(self, kind: type[S]) -> list[S]:
        """Return the stages of a kind, in their order."""
        return [stage for stage in self.stage if isinstance(stage, kind)]

    def named(self, stage: str) -> AnyStage:
        """Return the stage of this name.

        Raises
        ------
        BadRecipe
            If there is none.
        """
        stages = {each.name: each for each in self.stage}
        if stage not in stages:
            raise BadRecipe(f"{self.name} has no stage {stage!r}: {', '.join(stages)}")
        return stages[stage]


def read(path: Path) -> Recipe:
    """Read a recipe; paths in it count from its own folder.

    Raises
    ------
    BadRecipe
        If the file is not TOML, a key is unknown, or a stage that it names is missing.
    """
    try:
        written = tomllib.loads(path.read_text())
        context = {"folder": path.resolve().parent}
        found = Recipe.model_validate(spelled_out(written), context=context)
    except tomllib.TOMLDecodeError as error:
        raise BadRecipe(f"{path}: {error}") from error
    except ValidationError as error:
        where = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise BadRecipe(f"{path}: {'; '.join(where)}") from error
    found._written = written
    return found
