"""Sites that networks never saw: each slice is read by twins that learnt nothing from its site.

A recipe with `leave_site_out` gives them (`training.recipes.data.spelled_out`). Of its other sites
those patients count that no network learnt from; they are told apart, since their scanners are no
unseen ones. The shipped ensemble reads the same slices. What is found fixes how much either opinion
counts (`training.unseen.stacking`).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import load_detector
from models.classifiers import LABELS
from models.detector import Detector
from models.rules import Settings
from training.metrics.scores import METHOD, Scores, estimate, refuse_other_cases
from training.metrics.statistics import Bools, Floats, weighted_auc
from training.metrics.tables import Cell, Table
from training.recipes import recipe as recipes
from training.recipes.cohorts import cohorts
from training.recipes.data import without
from training.recipes.recipe import BadRecipe, Recipe
from training.recipes.stages import Lite
from training.stages import sites
from training.train import train
from training.unseen import stacking
from training.unseen.found import alarms_table, found_table, peers_table
from training.unseen.left_out import LeftOut, left_out
from training.unseen.stacking import arms, series_scores, slice_scores

ARMS = ("ensemble", "sequence", "slices", "stack")
"""The shipped ensemble and model of scans, the recipe's networks without the site, and ensemble and
slices by weights that were fitted on the other sites."""

COLUMNS = ("site, label", "cases", "positive", "patients", *ARMS, "gain of the stack")

LEARNT = (
    '"slices": networks of the recipe that learnt nothing from the site. "ensemble", "sequence": '
    "the shipped ones, which learnt from PhysioNet's training patients: of PhysioNet only the "
    "others count.",
    '"seen": other patients of the site were learnt from, so it is no unseen scanner.',
    '"stack": the weighted sum of the two logits; the weights come from the other sites.',
)


def cross_sites(path: Path, folder: Path) -> None:
    """Read each site that the recipe leaves out; write the tables "sites" and "series".

    Beside them stand the tables of `training.unseen.found`. What is not trained yet is trained
    first. `training.unseen.stacking.STACK` in the recipe's runs gets the weights, the score of a
    series, the operating points and the tables.

    Raises
    ------
    BadRecipe
        If the recipe leaves no site out.
    """
    recipe = recipes.read(path)
    stages = recipe.every(Lite)
    twins = {without(each.name, site) for each in stages for site in recipe.leave_site_out}
    mined = {each.mines for each in stages}
    last = [each for each in stages if each.name not in mined | twins]
    if not recipe.leave_site_out or not last:
        raise BadRecipe(f"{recipe.name} leaves no site out: it needs leave_site_out and a stage")
    train(path)
    detector = load_detector(recipe.bundle)
    readings, judged = _readings(recipe, last, detector)
    rules, figures = stacked(readings, judged, detector.settings)
    tables = [
        sites_table(readings, detector.settings),
        series_table(readings, judged, rules),
        *_others(recipe, readings, judged, rules),
    ]
    for table in tables:
        table.write(folder)
    keep(recipe.runs, rules, figures, tables)


def keep(runs: Path, rules: Settings, figures: Mapping[str, Any], tables: Sequence[Table]) -> None:
    """Write what was chosen, and the tables, to where an export finds them."""
    told = asdict(rules) | {"figures": figures, "tables": [asdict(each) for each in tables]}
    (runs / stacking.STACK).write_text(json.dumps(told, indent=1) + "\n")


def _others(
    recipe: Recipe, readings: Sequence[LeftOut], judged: Sequence[LeftOut], rules: Settings
) -> Iterator[Table]:
    """Yield what is found, what is flagged in vain, and what peers say of the same patients."""
    fair = [each.only(each.fair) for each in (*readings, *judged)]
    known = [each.only(each.known & each.fair) for each in readings]
    own = [_by_others(each, readings, rules) for each in readings]
    yield found_table(list(zip(known, own, strict=True)))
    yield alarms_table(fair, rules)
    for each, by_others in zip(readings, own, strict=True):
        if each.site in recipe.peers:
            yield peers_table(each, by_others, recipe.peers[each.site])


def _readings(
    recipe: Recipe, stages: Sequence[Lite], detector: Detector
) -> tuple[list[LeftOut], list[LeftOut]]:
    """Return the sites that are left out, and those that judge."""
    whole = sites.table(recipe, {site for each in stages for site in each.shares})
    readings = []
    for site in sorted({cohort.data_set.site for cohort in cohorts(recipe, "train")}):
        left = site in recipe.leave_site_out
        names = [without(each.name, site) if left else each.name for each in stages]
        readers = [each for each in map(recipe.named, names) if isinstance(each, Lite)]
        readings.append(left_out(recipe, readers, site, whole, detector))
    if (judges := sites.judges(recipe)) is None:
        return readings, []
    names = sorted(set(judges.site))
    return readings, [left_out(recipe, stages, site, judges, detector) for site in names]


def fitting(readings: Sequence[LeftOut]) -> list[LeftOut]:
    """Return the sites that weights are fitted to: not those whose patients all bleed."""
    return [each for each in readings if (each.study[each.known] == 0).any()]


def _by_others(reading: LeftOut, readings: Sequence[LeftOut], rules: Settings) -> Settings:
    """Return the rules with weights fitted to the other sites."""
    return stacking.with_weights(fitting([each for each in readings if each is not reading]), rules)


def stacked(
    readings: Sequence[LeftOut], judged: Sequence[LeftOut], fixed: Settings
) -> tuple[Settings, dict[str, Any]]:
    """Return the rules that all sites together give, and the figures of their operating points."""
    chosen = [each for each in (*_choosing(readings), *judged) if _shows_both(each)]
    rules = stacking.with_weights(fitting(readings), fixed)
    rules = stacking.with_doubt(chosen, stacking.with_score(chosen, rules))
    scores, bleeds = _pooled(chosen, rules)
    rules = stacking.with_points(scores, bleeds, rules)
    return rules, stacking.point_figures(scores, bleeds, rules)


def _choosing(readings: Sequence[LeftOut]) -> list[LeftOut]:
    """Return whole series on which something may be chosen."""
    return [each.only(each.fair & ~each.test) for each in readings if each.whole]


def _shows_both(reading: LeftOut) -> bool:
    return {0.0, 1.0} <= set(reading.study.tolist())


def _pooled(readings: Sequence[LeftOut], rules: Settings) -> tuple[Floats, Bools]:
    found = [series_scores(each, slice_scores(each, rules), rules) for each in readings]
    scores, bleeds = zip(*found, strict=True)
    return np.concatenate(scores), np.concatenate(bleeds)


def sites_table(readings: Sequence[LeftOut], fixed: Settings) -> Table:
    """Return the table of slices, each site scored by weights from the others."""
    rows: dict[str, tuple[Cell, ...]] = {}
    for reading in readings:
        judged = reading.only(reading.known & reading.fair)
        rows |= site_rows(judged, arms(judged, _by_others(reading, readings, fixed)))
    return Table(
        "sites",
        "Sites that the networks never saw: AUC over slices",
        "all slices of each site",
        COLUMNS,
        rows,
        (*LEARNT, METHOD),
    )


def site_rows(reading: LeftOut, scores: Mapping[str, Floats]) -> dict[str, tuple[Cell, ...]]:
    """Return a row for each label that the site's slices are known to show.

    A subtype's row compares the slices that show it with those that show none.

    Parameters
    ----------
    scores
        For each of `ARMS` (n,) scores.
    """
    found, bleeds = {}, reading.labels[:, 0] == 1
    for place, name in enumerate(LABELS):
        shown = reading.labels[:, place] == 1
        if not shown.any() or bleeds.all():
            continue
        found[f"{reading.name}, {name}"] = _row(
            {
                arm: Scores(bleeds, score, reading.patient).among(shown)
                for arm, score in scores.items()
            }
        )
    return found


def series_table(readings: Sequence[LeftOut], judged: Sequence[LeftOut], rules: Settings) -> Table:
    """Return the table of whole series, of sites that show both kinds."""
    rows: dict[str, tuple[Cell, ...]] = {}
    for reading in (*readings, *judged):
        seen = reading.only(reading.fair)
        if seen.whole and _shows_both(seen):
            own = _by_others(reading, readings, rules)
            rows[f"{reading.name}, series"] = _row(_series(seen, own))
    return Table(
        "series",
        "Sites that the networks never saw: AUC over series",
        "whole series",
        COLUMNS,
        rows,
        (*LEARNT, f'The score of a series is "{rules.score}" of its slices.', METHOD),
    )


def _series(reading: LeftOut, rules: Settings) -> dict[str, Scores]:
    """Return each arm's scores of the series."""
    patients = np.array([reading.patient[rows][0] for rows in reading.series])
    found = {}
    for arm, slices in arms(reading, rules).items():
        scores, bleeds = series_scores(reading, slices, rules)
        found[arm] = Scores(bleeds, scores, patients)
    return found


def _row(scores: Mapping[str, Scores]) -> tuple[Cell, ...]:
    one = scores["ensemble"]
    counts = (len(one.truth), int(one.truth.sum()), len(np.unique(one.patient)))
    areas = (scores[arm].measure()["AUC"] for arm in ARMS)
    return (*map(Cell, counts), *areas, gain(scores["stack"], one))


def gain(scores: Scores, reference: Scores) -> Cell:
    """Return the difference of two AUCs on the same cases, with its interval over patients."""
    refuse_other_cases(reference, scores, "gain")

    def figures(weights: Floats) -> Floats:
        both = (weighted_auc(each.score, each.truth, weights) for each in (scores, reference))
        more, less = both
        return np.asarray((more - less)[:, None])

    (cell,) = estimate(figures, reference.patient, reference.truth)
    return cell
