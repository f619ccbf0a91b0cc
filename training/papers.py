"""The papers' tables of one data set: results in the shapes that `training.tables` takes."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from models.attention import AttentionReader, slice_scores
from models.classifiers import LABELS
from models.reader import Settings
from models.sequence import SequenceReader
from training import plans, tables
from training.batches import WINDOWS
from training.measure import Bools, Floats, Result
from training.recipe import Attention, Classifier, Recipe, Sequence
from training.sequences import SLICES_AT_ONCE, centre
from training.tables import Cell, Classes, Labelled, Scores, Table

_S = TypeVar("_S")


@dataclass(frozen=True, slots=True)
class Measured:
    """The results of one data set, in the shapes that the tables take.

    Attributes
    ----------
    data
        Data set and split, for the tables' headers.
    rules
        The bundle's.
    trained
        Gives the network of a sequence or attention stage.
    """

    data: str
    recipe: Recipe
    rules: Settings
    trained: Callable[[Any], Any]
    results: list[Result]

    @property
    def number(self) -> NDArray[np.int_]:
        """(n,) number of each case."""
        return np.array([case.number for case in self.results])

    def of_slabs(self, take: Callable[[Result], NDArray[Any]]) -> NDArray[Any]:
        """(m, ...) what `take` gives of each case, slabs of all cases together."""
        return np.concatenate([take(case) for case in self.results])

    @property
    def slab_number(self) -> NDArray[np.int_]:
        """(m,) whose each slab is."""
        return np.repeat(self.number, [len(case.peaks) for case in self.results])

    @property
    def labels(self) -> Bools:
        """(m, 6) bool, `LABELS` of each slab."""
        truth = self.of_slabs(lambda case: case.slab_truth)
        return np.column_stack((truth.any(1), truth))

    def cases(self, score: Callable[[Result], float], threshold: float) -> Scores:
        """Return one score a case."""
        scores = np.array([score(case) for case in self.results])
        bleeds = np.array([case.bleeds for case in self.results])
        return Scores(bleeds, scores, self.number, threshold)

    def slabs(self, score: Callable[[Result], Floats], threshold: float = 0.5) -> Scores:
        """Return one score a slab, of whether it bleeds."""
        found = self.of_slabs(score).astype(float)
        return Scores(self.labels[:, 0], found, self.slab_number, threshold)

    def triage(self, peaks: Floats) -> float:
        """Return the triage score of a network's slabs, (s,) 0..1, uncalibrated."""
        return self.rules.triage(peaks)

    def named(self, score: Callable[[Result], Floats]) -> Labelled:
        """Return six probabilities a slab."""
        found = self.of_slabs(score).astype(float)
        return Labelled(self.labels, found, self.slab_number)

    def stages(self, kind: type[_S]) -> list[_S]:
        """Return the recipe's stages of a kind."""
        return [each for each in self.recipe.stage if isinstance(each, kind)]


def write(folder: Path, measured: Measured, arms: tuple[str, ...]) -> None:
    """Write all tables and figures that the recipe's stages allow.

    Parameters
    ----------
    arms
        Names of the ensemble's parts, as `Result.base_peaks` has them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = [*_ensemble_tables(measured, arms), *_phantom_tables(measured)]
    found += _classifier_tables(measured)
    found += [*_sequence_tables(measured), *_attention_tables(measured), *_exclusive(measured)]
    for table in found:
        table.write(folder)
    curves = {"ensemble": _ensemble(measured)} | _classifiers(measured)
    title = "Whether a case bleeds"
    (folder / "roc.png").write_bytes(tables.roc_figure(curves, title, measured.data))
    calibrated = {"ensemble, slices": measured.slabs(lambda c: measured.rules.calibrate(c.peaks))}
    (folder / "reliability.png").write_bytes(
        tables.reliability_figure(calibrated, "Calibration of slices", measured.data)
    )


def cross_validation(found: Mapping[str, Any], folds: int) -> Table:
    """`training.measure.figures` of a cross-validation as a table."""
    rows = {key: found[key] for key in ("case_auc", "slice_auc", "dice")}
    rows |= {f"{name}, slice AUC": each for name, each in found["subtype_slice_auc"].items()}
    return Table(
        "cross-validation",
        f"Model 1 alone, {folds}-fold cross-validation",
        f"PhysioNet CT-ICH, {found['cases']} patients ({found['bleeding']} bleed), each read by "
        "the network that held it out",
        ("figure", "value"),
        {
            name.replace("_", " "): (
                Cell(each["value"], tuple(each["interval"]) if each["value"] is not None else None),
            )
            for name, each in rows.items()
        },
        (
            "Case AUC: DeLong's interval; the others: 500 bootstrap replications over patients.",
            "Dice: median over bleeding patients. The data set's paper reports 0.31 for its U-Net.",
        ),
    )


def _ensemble(measured: Measured) -> Scores:
    rules = measured.rules
    return measured.cases(lambda case: case.score(rules), rules.operating_point)


def _ensemble_tables(measured: Measured, arms: tuple[str, ...]) -> list[Table]:
    rules, data = measured.rules, measured.data
    place = {tables.ALL_FIVE: None} | {arm: index for index, arm in enumerate(arms)}

    def peaks(case: Result, arm: str) -> Floats:
        index = place[arm]
        return case.peaks if index is None else case.base_peaks[:, index]

    by_case = {
        arm: measured.cases(
            lambda case, arm=arm: rules.triage(rules.calibrate(peaks(case, arm))), 0.5
        )
        for arm in place
    }
    by_slab = {arm: measured.slabs(lambda case, arm=arm: peaks(case, arm)) for arm in place}
    case_subtypes = np.array([case.slab_truth.any(0) for case in measured.results])
    return [
        tables.kang_t3(by_case, case_subtypes, f"{data}; cases"),
        replace(
            tables.kang_t3(by_slab, measured.labels[:, 1:], f"{data}; slices"),
            name="kang-t3-slices",
        ),
    ]


def _phantom_tables(measured: Measured) -> list[Table]:
    """Volumes are compared on phantoms alone: the patients' masks are rough."""
    if not measured.data.startswith("phantom"):
        return []
    results = measured.results
    truth_ml, found_ml = (
        np.array([getattr(case, each) for case in results]) for each in ("truth_ml", "found_ml")
    )
    return [
        tables.phantom(
            _ensemble(measured),
            measured.cases(lambda case: case.dense_ml, np.inf),
            np.array([case.slab_truth.any(0) for case in results]),
            np.array([case.subtypes.max(0) for case in results]),
            (truth_ml, found_ml),
            measured.data,
        )
    ]


def _classifiers(measured: Measured) -> dict[str, Scores]:
    """Case scores of the weakly trained classifiers, the largest triage score of their slabs."""
    return {
        stage.backbone: measured.cases(
            lambda case, name=stage.name: measured.triage(case.witnessed[name][:, 0]), 0.5
        )
        for stage in measured.stages(Classifier)
        if not stage.exclusive and not stage.location
    }


def _classifier_tables(measured: Measured) -> list[Table]:
    arms: dict[str, dict[str, Scores]] = defaultdict(dict)
    for stage in measured.stages(Classifier):
        if not stage.exclusive:
            arm = "located" if stage.location else "weak"
            arms[stage.backbone][arm] = measured.slabs(
                lambda case, name=stage.name: case.witnessed[name][:, 0]
            )
    both = {network: found for network, found in arms.items() if len(found) == 2}
    if not both:
        return []
    return [
        tables.kang_t2(both, "weak", f"{measured.data}; slices"),
        tables.kang_t4(_ensemble(measured), _classifiers(measured), f"{measured.data}; cases"),
    ]


def _sequence_tables(measured: Measured) -> list[Table]:
    stages = measured.stages(Sequence)
    made = []
    for reads in dict.fromkeys(stage.reads for stage in stages):
        models = {tables.CNN: measured.named(partial(_alone, reads))}
        for stage in stages:
            if stage.reads == reads:
                network = measured.trained(stage)
                models[_selection(stage)] = measured.named(partial(_follow, network, reads))
        data = f"{measured.data}; features of {reads}"
        made.append(tables.burduja_t2(models, data))
        best = {name: models[name] for name in list(models)[:2]}
        scans = {name: model.by_scan(model.patient) for name, model in best.items()}
        made.append(tables.burduja_t3(best, scans, data))
    return made


def _selection(stage: Sequence) -> str:
    """Name a selection as the paper does, such as "PCA-120 + predictions"."""
    kind = "PCA" if stage.selection == "pca" else stage.selection
    return f"{kind}{'' if stage.selection == 'all' else f'-{stage.selected}'} + predictions"


def _alone(reads: str, case: Result) -> Floats:
    return case.witnessed[reads][:, : len(LABELS)]


def _follow(network: SequenceReader, reads: str, case: Result) -> Floats:
    probabilities, features = np.split(case.witnessed[reads], [len(LABELS)], axis=1)
    with torch.inference_mode():
        logits = network(torch.from_numpy(features)[None], torch.from_numpy(probabilities)[None])
    return np.asarray(torch.sigmoid(logits)[0].numpy(), np.float32)


def _attention_tables(measured: Measured) -> list[Table]:
    made = []
    for stage in measured.stages(Attention):
        network = measured.trained(stage)
        read = {case.number: _attend(network, stage.reads, case) for case in measured.results}
        studies = measured.cases(lambda case, read=read: read[case.number][0], 0.5)
        slices = measured.slabs(lambda case, read=read: read[case.number][1])
        made.append(tables.wu({"studies": studies, "slices by attention": slices}, measured.data))
    return made


def _attend(network: AttentionReader, reads: str, case: Result) -> tuple[float, Floats]:
    """Study probability, and (s,) slice scores."""
    with torch.inference_mode():
        features = torch.from_numpy(case.witnessed[reads][:, len(LABELS) :])
        logit, attention = network(features[None])
        probability = torch.sigmoid(logit)
        return float(probability), slice_scores(attention, probability)[0].numpy()


def _exclusive(measured: Measured) -> list[Table]:
    """Zhou's table; the image-level split is tested on its own images, patients on both sides."""
    splits: dict[str, dict[str, Classes]] = defaultdict(dict)
    for stage in measured.stages(Classifier):
        if not stage.exclusive:
            continue
        if stage.split_by == "patient":
            truth = measured.labels[:, 1:]
            score = measured.of_slabs(lambda case, name=stage.name: case.witnessed[name][:, :6])
            splits[tables.PATIENT_LEVEL][stage.backbone] = _classes(
                truth, score, measured.slab_number
            )
        elif not measured.data.startswith("phantom"):
            splits[tables.IMAGE_LEVEL][stage.backbone] = _held_out_images(measured.recipe, stage)
    return [tables.zhou(splits, measured.data)] if splits else []


def _held_out_images(recipe: Recipe, stage: Classifier) -> Classes:
    slices = plans.patients(recipe)
    chosen = np.flatnonzero(plans.rows(recipe, stage, slices.patient, "test"))
    look = plans.look(recipe, stage.name)
    size = recipe.grid.rows, recipe.grid.columns
    found = []
    for index in np.array_split(chosen, -(-len(chosen) // SLICES_AT_ONCE)):
        hu, brain = (centre(each[index], size) for each in (slices.hu, slices.brain))
        image = WINDOWS[stage.windows](hu.astype(np.float32), brain / np.float32(255))
        with torch.inference_mode():
            found.append(look(torch.from_numpy(image))[1].float().cpu().numpy())
    truth = slices.labels[chosen] == 1
    return _classes(truth, np.concatenate(found), slices.patient[chosen])


def _classes(truth: Bools, probabilities: Floats, number: NDArray[np.int_]) -> Classes:
    """Slices of at most one subtype; (n, 6) any and `SUBTYPES` become normal and `SUBTYPES`."""
    single = truth.sum(1) <= 1
    score = np.column_stack((1 - probabilities[:, 0], probabilities[:, 1:]))[single]
    which = np.where(truth.any(1), 1 + truth.argmax(1), 0)[single]
    return Classes(which, score.astype(float), number[single])
