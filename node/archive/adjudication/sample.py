"""Which studies people are asked about: all that disagree, and a random sample of what agrees.

Studies fall into cells by what the node said and what the report says. Of a cell either all are
asked about, or a simple random sample; what was found among those holds for the cell's others. It
is drawn once, before anybody decides, and written down.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from node.archive.evidence import Study
from node.errors import Permanent


class AskedFor(StrEnum):
    """Why a study is asked about."""

    DISAGREEMENT = "disagreement"
    AGREEMENT = "agreement sample"


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """What the node said of a study, and what its report says."""

    flagged: bool
    says: str

    def __str__(self) -> str:
        """Return it as people read it."""
        node = "flagged" if self.flagged else "not flagged"
        report = {"bleeds": "report: bleeds", "none": "report: none"}.get(self.says, self.says)
        return f"{node}, {report}"

    @property
    def asked_for(self) -> AskedFor:
        """Whether all of it are asked about.

        They are where node and report disagree, and where the node flags what no report confirms.
        """
        confirmed = "bleeds" if self.flagged else "none"
        disagrees = self.says in ("bleeds", "none") and self.says != confirmed
        alone = self.flagged and self.says not in ("bleeds", "none")
        return AskedFor.DISAGREEMENT if disagrees or alone else AskedFor.AGREEMENT


def cell_of(study: Study) -> Cell:
    """Return the cell of a study that was analysed."""
    return Cell(study.outcome.flagged, study.says)


@dataclass(frozen=True, slots=True)
class Asked:
    """One study that is asked about.

    Attributes
    ----------
    probability
        With which it was chosen from its cell.
    """

    study: str
    asked_for: AskedFor
    probability: float


@dataclass(frozen=True, slots=True)
class Sample:
    """Whom people are asked about.

    Attributes
    ----------
    agreements
        How many of each cell that agrees.
    frame
        How many studies had been analysed when it was drawn.
    asked
        In random order, so that the first answers are a random part of each cell.
    """

    seed: int
    agreements: int
    drawn_at: str
    frame: int
    asked: tuple[Asked, ...]


def draw(studies: Sequence[Study], agreements: int, seed: int, now: datetime) -> Sample:
    """Draw whom people are asked about, of the studies that were analysed.

    The same studies, number and seed give the same sample.

    Parameters
    ----------
    agreements
        How many to draw from each cell that agrees; all of a cell that has fewer.
    """
    rng = np.random.default_rng(seed)
    cells: dict[Cell, list[str]] = {}
    for study in sorted(studies, key=lambda each: each.name):
        if study.outcome.analysed:
            cells.setdefault(cell_of(study), []).append(study.name)
    asked = []
    for cell, names in sorted(cells.items()):
        number = len(names)
        if cell.asked_for is AskedFor.AGREEMENT:
            number = min(agreements, number)
        chosen = rng.choice(len(names), number, replace=False)
        share = number / len(names)
        asked += [Asked(names[each], cell.asked_for, share) for each in sorted(chosen)]
    order = rng.permutation(len(asked))
    mixed = tuple(asked[each] for each in order)
    frame = sum(map(len, cells.values()))
    return Sample(seed, agreements, now.isoformat(timespec="seconds"), frame, mixed)


def write_sample(file: Path, sample: Sample) -> None:
    """Write a sample, whole or not at all; one that is there already stays.

    Raises
    ------
    Permanent
        If it cannot be written, or there is one.
    """
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        unfinished.write_text(json.dumps(asdict(sample), indent=1) + "\n", encoding="utf-8")
        file.hardlink_to(unfinished)
    except FileExistsError as error:
        raise Permanent(f"{file} is there already: a sample is drawn once") from error
    except OSError as error:
        raise Permanent(f"{file} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def read_sample(file: Path) -> Sample | None:
    """Return the sample that was drawn; None if there is none.

    Raises
    ------
    Permanent
        If the file cannot be read or is none.
    """
    try:
        return _sample(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Permanent(
            f"{file} is no sample ({error}): put the right one back, or take it away and let "
            "`ichnode archive adjudicate` draw anew"
        ) from error


def _sample(told: Mapping[str, Any]) -> Sample:
    asked = tuple(
        Asked(str(each["study"]), AskedFor(each["asked_for"]), float(each["probability"]))
        for each in told["asked"]
    )
    if not all(0 < each.probability <= 1 for each in asked):
        raise ValueError("a probability lies outside of 0..1")
    return Sample(
        int(told["seed"]),
        int(told["agreements"]),
        str(told["drawn_at"]),
        int(told["frame"]),
        asked,
    )
