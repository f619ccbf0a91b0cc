"""The kinds of stages that a recipe lists: what each network learns, and for how long."""

from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from models.findings import SUBTYPES
from models.selection import How
from training.recipes.data import RecipePath, Strict


class Stage(Strict):
    """One network's training.

    Attributes
    ----------
    batch
        Slices, boxes or scans of one step, on all devices together.
    rate
        Highest learning rate; it is warmed up to and annealed from.
    phantoms
        Share of phantoms, where it is not the recipe's.
    implants
        Share of the slices from patients' heads that are `training.phantoms.implant`'s (ours).
        At 0 lesions are painted into slices instead, of phantoms too.
    hold_out
        Patients to learn nothing from; all others are learnt.
    fold
        Which of the recipe's folds to learn nothing from. Without a fold and `hold_out` the splits'
        training parts are learnt.
    """

    name: str
    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    rate: float = Field(gt=0)
    phantoms: float | None = Field(None, ge=0, le=1)
    implants: float = Field(0.0, ge=0, lt=1)
    hold_out: tuple[str, ...] = ()
    fold: int | None = None

    @field_validator("hold_out", mode="before")
    @classmethod
    def _named(cls, patients: Any) -> tuple[str, ...]:
        return tuple(str(patient) for patient in patients)

    @property
    def holds_out(self) -> bool:
        """Whether it is tested on patients of its own, whatever the splits say."""
        return bool(self.hold_out) or self.fold is not None

    def fault(self, _names: Collection[str]) -> str | None:
        """Return what is wrong with the stage in a recipe whose stages have these names."""
        return None


class SkullStrip(Stage):
    """The 3D U-Net that finds the inside of the skull."""

    kind: Literal["skullstrip"]


class Base(Stage):
    """A base network of the ensemble (Kang 2023).

    Attributes
    ----------
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
    """

    kind: Literal["base"]
    start: str | None = None
    encoder_steps: int = 0
    subtype_loss: float = 0.0
    presence_loss: float = 0.3
    only: tuple[str, ...] = SUBTYPES
    small_ml: float | None = None


class Weights(Stage):
    """The ensemble's weight model (Kang 2023).

    Attributes
    ----------
    bases
        Its base networks, in order.
    names_subtypes
        The one of them whose subtype head and features the ensemble gives.
    unseen
        Phantoms drawn for it alone, whatever `phantoms` share it has (ours). On slices that its
        base networks learnt from, the network trained longest would always be right.
    presence_loss
        Weight of this loss beside the Dice of the fused map.
    """

    kind: Literal["weights"]
    bases: tuple[str, ...]
    names_subtypes: str
    unseen: int = Field(gt=0)
    presence_loss: float = 0.3

    def fault(self, _names: Collection[str]) -> str | None:
        """Return that the network which names subtypes is none of the bases."""
        if self.names_subtypes in self.bases:
            return None
        return f"stage {self.name!r}: {self.names_subtypes!r} is no base of it"


class Classifier(Stage):
    """A classifier of slices (Kang 2023's comparison, Burduja 2020's CNN, Zhou 2022).

    Attributes
    ----------
    backbone
        timm's name of the network.
    imagenet
        Local file of its published ImageNet weights; without it, it starts at random.
    location
        Weight of the location loss: 0 for the weak arm, 1 for the located one.
    exclusive
        One of `training.losses.CLASSES` for each slice instead of six labels (Zhou 2022). Slices
        that show several subtypes are left out (ours; the paper does not say).
    windows
        Input channels, see `training.batches.slices.WINDOWS`.
    split_by
        "image" deals slices, not patients, into the parts 80/10/10: Zhou's leak, to be shown.
    """

    kind: Literal["classifier"]
    backbone: str
    imagenet: RecipePath | None = None
    location: float = Field(0.0, ge=0)
    exclusive: bool = False
    windows: Literal["kang", "burduja"] = "kang"
    split_by: Literal["patient", "image"] = "patient"

    @model_validator(mode="after")
    def _located_by_any(self) -> Self:
        if self.exclusive and self.location:
            raise ValueError("the location loss is for six labels, not for exclusive classes")
        return self


class Study(Stage):
    """A model of whole scans, over features that a trained network gives.

    Attributes
    ----------
    reads
        The stage of this recipe that gives them: a base network, the weight model (for the whole
        ensemble) or a classifier.
    copies
        How often each patient's scan is read: once as it is, and then varied (ours). Phantoms are
        read once, since more of them can be drawn.
    """

    reads: str
    copies: int = Field(4, gt=0)

    def fault(self, names: Collection[str]) -> str | None:
        """Return that the stage which gives the features is not there."""
        if self.reads in names:
            return None
        return f"stage {self.name!r} reads {self.reads!r}, which is not there"

    def sizes(self, features: int, /) -> dict[str, Any]:
        """Return the arguments of the model that follow its `features`."""
        raise NotImplementedError


class Sequence(Study):
    """The sequence model (Burduja 2020); sizes as in `models.sequence.SequenceModel`.

    Attributes
    ----------
    selection
        Which features it sees, see `models.selection.fit`.
    selected
        How many; "all" takes every one.
    """

    kind: Literal["sequence"]
    selection: How = "pca"
    selected: int = Field(120, gt=0)
    cells: int = Field(256, gt=0)
    layers: int = Field(3, gt=0)
    dropout: float = Field(0.3, ge=0, lt=1)

    def sizes(self, features: int, /) -> dict[str, Any]:
        """Return the arguments of the model that follow its `features`."""
        selected = features if self.selection == "all" else self.selected
        return {"selected": selected} | self.model_dump(include={"cells", "layers", "dropout"})


class Attention(Study):
    """The attention model (Wu 2024); sizes as in `models.attention.AttentionModel`."""

    kind: Literal["attention"]
    cells: int = Field(128, gt=0)
    hidden: int = Field(64, gt=0)

    def sizes(self, _features: int, /) -> dict[str, Any]:
        """Return the arguments of the model that follow its features."""
        return self.model_dump(include={"cells", "hidden"})


class Lite(Stage):
    """The network of slices that starts from ImageNet, see `models.lite.LiteUNet`.

    Attributes
    ----------
    shares
        Sites to learn from, and how much of a batch each gives, see `training.stages.sites.table`.
    imagenet
        Whether the encoder starts from the published weights; else at random.
    mines
        A stage of this kind; the normal slices that it takes for bleeding are drawn most.
    rows, columns
        The crop of the table's canvas that it sees, in steps of 1 mm.
    lesion_loss, presence_loss
        Weights of the losses of the map beside that of the labels.
    """

    kind: Literal["lite"]
    shares: dict[str, float] = Field(min_length=1)
    imagenet: bool = True
    mines: str | None = None
    rows: int = Field(192, multiple_of=2)
    columns: int = Field(160, multiple_of=2)
    lesion_loss: float = Field(1.0, ge=0)
    presence_loss: float = Field(0.3, ge=0)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns

    def fault(self, names: Collection[str]) -> str | None:
        """Return that the stage whose false alarms it mines is not there."""
        if self.mines is None or self.mines in names:
            return None
        return f"stage {self.name!r} mines {self.mines!r}, which is not there"


AnyStage = Annotated[
    SkullStrip | Base | Weights | Classifier | Sequence | Attention | Lite,
    Field(discriminator="kind"),
]
