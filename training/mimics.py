"""How often a detector takes a known mimic of blood for blood: ichnode evaluate RECIPE --mimics.

The detector is the recipe's bundle. It reads normal heads with one mimic each: phantoms of the test
range, and the patients that the recipe holds out who do not bleed, with calcium or a tumour put in.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.bundle import load_detector
from models.detector import Detector
from models.findings import Unreadable
from training.datasets.case import Case
from training.metrics.measure import measured_cohorts
from training.metrics.statistics import wilson
from training.metrics.tables import Cell, Table
from training.phantoms.mimics import BODIES, NAMES, NONE, Mimicked, drawn, implanted
from training.recipes import recipe as recipes
from training.recipes.recipe import Recipe

log = logging.getLogger(__name__)

HEADS = 20
"""Phantoms of each mimic."""

COLUMNS = ("mimic", "heads", "flagged", "false-alarm rate", "marked on it", "named")


@dataclass(frozen=True, slots=True)
class Alarm:
    """What the detector said of one normal head.

    Attributes
    ----------
    flagged
        Whether it was suspected.
    on_mimic
        Whether it was, and what is marked holds a voxel of the mimic.
    named
        Whether it was, and a sentence says what the region may be.
    """

    flagged: bool
    on_mimic: bool
    named: bool


def measure_mimics(path: Path, folder: Path, small: bool = False) -> None:
    """Read heads with each mimic, and write the table "mimics" into `folder`.

    Parameters
    ----------
    small
        Read one phantom of each mimic and no patients: to see the table.
    """
    recipe = recipes.read(path)
    detector = load_detector(recipe.bundle)
    seeds = range(1 if small else HEADS)
    found = {}
    for name in (NONE, *NAMES):
        log.info("reading phantoms: %s", name, extra={"action": "evaluate"})
        heads = map(partial(drawn, name), seeds)
        found[f"phantom, {NAMES.get(name, name)}"] = alarms(detector, heads)
    for name in () if small else (NONE, *BODIES):
        log.info("reading patients: %s", name, extra={"action": "evaluate"})
        patients = (implanted(case, name) for case in held_out(recipe))
        found[f"patients, {NAMES.get(name, name)}"] = alarms(detector, patients)
    published({name: each for name, each in found.items() if each}).write(folder)


def held_out(recipe: Recipe) -> Iterator[Case]:
    """Yield the held-out cases that are known not to bleed."""
    for cohort in measured_cohorts(recipe):
        data = cohort.data_set
        normal = [patient for patient in cohort.split.test if data.bleeding.get(patient) == 0]
        yield from data.cases(normal)


def alarms(detector: Detector, heads: Iterable[Mimicked]) -> list[Alarm]:
    """Read each head; one that cannot be read is no alarm, and is left out."""
    found = []
    for head in heads:
        try:
            said = detector.detect(head.volume)
        except Unreadable as reason:
            log.warning("a head is left out: %s", reason, extra={"action": "left_out"})
            continue
        hit = said.suspected and bool((said.mask & head.mimic).any())
        found.append(Alarm(said.suspected, hit, bool(said.mimics)))
    return found


def published(found: Mapping[str, list[Alarm]]) -> Table:
    """Return the table of these alarms."""
    return Table(
        "mimics",
        "Normal heads with a mimic of blood: false alarms",
        "phantoms of the test range, and held-out patients with calcium or a tumour put in",
        COLUMNS,
        {name: _row(each) for name, each in found.items()},
        (
            "Phantom rows are phantom numbers: they say nothing of how often patients are flagged.",
            "Interval: Wilson's, 95 %, over heads. The same heads stand in each row of a kind.",
            '"marked on it": what is marked holds a voxel of the mimic. "named": a sentence says '
            "what a marked region may be; it clears nothing.",
        ),
    )


def _row(each: list[Alarm]) -> tuple[Cell, ...]:
    flagged = sum(one.flagged for one in each)
    counts = (len(each), flagged)
    rate = Cell(flagged / len(each), wilson(flagged, len(each)))
    on_mimic, named = sum(one.on_mimic for one in each), sum(one.named for one in each)
    return (*map(Cell, counts), rate, Cell(on_mimic), Cell(named))
