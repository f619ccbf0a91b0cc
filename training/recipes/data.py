"""The parts of a recipe that say what is learnt from, and what its short forms stand for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from training.datasets.table import IMPLANTED


class Strict(BaseModel):
    """A table of a recipe: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _from_recipe(path: Path, info: ValidationInfo) -> Path:
    """Return the path as it counts from the recipe's folder, "~" from the home folder."""
    folder: Path = (info.context or {}).get("folder", Path())
    return (folder / path.expanduser()).resolve()


RecipePath = Annotated[Path, AfterValidator(_from_recipe)]
"""A path that counts from the recipe's folder."""

Role = Literal["train", "judge"]


class Data(Strict):
    """Patients of one data set.

    Attributes
    ----------
    kind
        One of `training.datasets.KINDS`.
    root
        Where it was unpacked.
    split
        TOML file of the parts train, tune and test; without it patients are dealt by a hash of
        their names (`training.datasets.splits.part_of`).
    role
        Whether networks are fitted to its training part, or it judges alone.
    mapping
        For "adapter": the TOML file that says what its files hold.
    series
        For "cq500": the best series of each study, or all.
    """

    kind: Literal[
        "physionet",
        "physionet-nifti",
        "rsna",
        "cq500",
        "bhsd",
        "instance",
        "near_east",
        "phe_sich",
        "adapter",
    ]
    root: RecipePath
    split: RecipePath | None = None
    role: Role = "train"
    mapping: RecipePath | None = None
    series: Literal["one", "all"] = "one"

    @model_validator(mode="after")
    def _mapped(self) -> "Data":
        if (self.kind == "adapter") == (self.mapping is None):
            raise ValueError('`mapping` is what an "adapter" needs, and no other kind takes')
        return self


class Phantoms(Strict):
    """Phantoms beside the patients: how many heads, from which seed on, and their share."""

    kind: Literal["phantoms"] = "phantoms"
    count: int = Field(0, ge=0)
    first_seed: int = 1000
    share: float = Field(0.0, ge=0, le=1)


AnyData = Annotated[Data | Phantoms, Field(discriminator="kind")]

REFERENCES = ("start", "reads", "bases", "names_subtypes", "mines")
"""Keys of a stage that name other stages."""


def spelled_out(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe without its short forms.

    `[each.KIND]` holds what all stages of a kind have that do not say otherwise. With `folds = k`
    each stage that learns from patients stands for k stages, "NAME-0" and so on, each of which
    holds another fold of the patients out; a reference between them stays within the fold. With
    `leave_site_out = [SITE, ...]` each stage with shares of sites has a twin for each of these
    sites, "NAME-without-SITE", that learns nothing from it.
    """
    found = dict(told)
    each, folds = found.pop("each", {}), found.get("folds", 0)
    stages = [{**each.get(stage.get("kind"), {}), **stage} for stage in found.get("stage", ())]
    stages += _without(stages, found.get("leave_site_out", ()))
    found["stage"] = _dealt(stages, folds) if folds else stages
    return found


def without(stage: str, site: str) -> str:
    """Return the name of a stage's twin that learns nothing from a site."""
    return f"{stage}-{_ending(site)}"


def _ending(site: str) -> str:
    return f"without-{site}"


def _without(stages: Sequence[dict[str, Any]], sites: Sequence[str]) -> list[dict[str, Any]]:
    several = [stage for stage in stages if "shares" in stage]
    names = {stage.get("name") for stage in several}
    return [
        {**_renamed(stage, _ending(site), names), "shares": _others(stage["shares"], site)}
        for site in sites
        for stage in several
    ]


def _others(shares: Mapping[str, float], site: str) -> dict[str, float]:
    """Return the shares of the other sites; a site's heads are in its implants too."""
    return {name: share for name, share in shares.items() if name not in (site, site + IMPLANTED)}


def _dealt(stages: Sequence[dict[str, Any]], folds: int) -> list[dict[str, Any]]:
    once = [stage for stage in stages if not _folded(stage)]
    several = [stage for stage in stages if _folded(stage)]
    names = {stage.get("name") for stage in several}
    dealt = [_of_fold(stage, fold, names) for fold in range(folds) for stage in several]
    return [*once, *dealt]


def _folded(stage: Mapping[str, Any]) -> bool:
    """Whether a stage sees hemorrhages of patients."""
    return stage.get("kind") != "skullstrip" and stage.get("phantoms") != 1.0


def _of_fold(stage: Mapping[str, Any], fold: int, names: set[Any]) -> dict[str, Any]:
    return {**_renamed(stage, str(fold), names), "fold": fold}


def _renamed(stage: Mapping[str, Any], ending: str, names: set[Any]) -> dict[str, Any]:
    """Return a stage whose name, and what it names of `names`, ends in "-ENDING"."""

    def renamed(value: Any) -> Any:
        if isinstance(value, list):
            return [renamed(each) for each in value]
        return f"{value}-{ending}" if value in names else value

    named = {key: renamed(stage[key]) for key in ("name", *REFERENCES) if key in stage}
    return {**stage, **named}
