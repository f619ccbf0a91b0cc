"""Settings of the worker, of its decoding and of the detector."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from node.settings.section import Section

BUNDLES = Path(__file__).parents[2] / "models" / "bundles"
"""Has a folder for each bundle that comes with ichnode, by its name."""


class Decode(Section):
    """The process that decodes pixels: what one series may take before it is not analysed."""

    timeout_s: float = Field(120.0, gt=0, description="longest time for a series, seconds")
    memory_mb: int = Field(4096, ge=64, description="most memory for a series, MB")


def bundle_folder(bundle: Path) -> Path:
    """Return the folder of a bundle that comes with ichnode, or the given folder."""
    return {folder.name: folder for folder in BUNDLES.glob("*")}.get(str(bundle), bundle)


def bundle_name(folder: Path) -> str:
    """Return what the settings call a bundle's folder: its name alone if it comes with ichnode."""
    return folder.name if folder.parent == BUNDLES else str(folder.absolute())


class Triage(Section):
    """The detector: its bundle, and how it runs."""

    bundle: Annotated[Path, AfterValidator(bundle_folder)] = Field(
        Path("ich-ensemble"),
        validate_default=True,
        description="name of a bundle that comes with ichnode, or a bundle's folder",
    )
    subtypes: Literal["auto", "ensemble", "sequence", "slices"] = Field(
        "auto",
        description='who names subtypes: "ensemble", "sequence", "slices"; "auto" as the bundle',
    )
    key_slice: Literal["auto", "lesion", "attention"] = Field(
        "auto", description='who picks the key slice: "lesion" (most of it), "attention", or "auto"'
    )
    operating_point: Literal["sensitive", "balanced", "quiet"] = Field(
        "balanced", description="from which score on to suspect, of those that the bundle offers"
    )
    runtime: Literal["auto", "cuda", "openvino", "torch"] = Field(
        "auto", description="where the networks run"
    )


class Work(Section):
    """The worker."""

    poll_s: float = Field(0.2, gt=0, description="look for work this often, seconds")
    lease_s: float = Field(60.0, gt=0, description="a silent worker loses its case, seconds")
    max_attempts: int = Field(3, ge=1, description="tries of a stage before the case is FAILED")
    max_interruptions: int = Field(
        20,
        ge=0,
        description="workers that may be killed in one stage before the case is FAILED",
    )
