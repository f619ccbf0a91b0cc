"""The papers' own tables and figures, of plain arrays: each cell with its interval and their value.

    Scores, Labelled, Classes -> kang_t2 ... phantom -> Table -> Markdown, JSON
                              -> roc_figure, reliability_figure, interval_figure -> PNG

Patients are resampled, never slices, and tests count patients too. Where a figure is 0 or 1 no
draw varies, and an interval of no width would claim certainty: Wilson's interval (Newcombe's for
an AUC) by the number of patients stands there.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from models.findings import SUBTYPES
from training.statistics import (
    Floats,
    brier,
    calibration_error,
    delong,
    draws,
    fleiss_kappa,
    holm,
    mcnemar,
    percentiles,
    predictive_values,
    reliability,
    roc_curve,
    separated,
    slice_losses,
    weighted_auc,
    weighted_share,
    wilson,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOTICE = "Research use only. Not a medical device."

LABELS = ("any", *SUBTYPES)

CLASSES = ("normal", *SUBTYPES)
"""Zhou's six exclusive classes, in the order of our subtypes."""

NETWORKS = {
    "densenet121": "DenseNet121",
    "inception_resnet_v2": "InceptionResNetV2",
    "mobilenetv2_100": "MobileNetV2",
    "vgg19_bn": "VGG19",
    "resnet18": "ResNet-18",
}
"""The papers' names of timm's networks; any other name stands as it is."""

PREVALENCES = (0.06, 0.15)
"""Shares of bleeding studies at which predictive values are given (ours)."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of a table; an empty one reads "no case".

    Attributes
    ----------
    value
        The figure, or a count; None where no case can give it.
    interval
        Its 95 % interval.
    p
        Of its difference from the table's reference, adjusted by Holm's rule.
    paper
        What the paper has here, as printed there.
    """

    value: float | int | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    paper: str | None = None

    def text(self, digits: int) -> str:
        """What stands in the Markdown table."""
        if self.value is None:
            parts = ["no case"]
        elif isinstance(self.value, int):
            parts = [str(self.value)]
        else:
            parts = [f"{self.value:.{digits}f}"]
        if self.interval:
            parts[0] += " ({:.{d}f} to {:.{d}f})".format(*self.interval, d=digits)
        if self.p is not None:
            parts.append("p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}")
        if self.paper:
            parts.append(f"paper {self.paper}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is published.

    Attributes
    ----------
    name
        Stem of its files, such as "kang-t2".
    title
        Which table of which paper it is, and of what.
    data
        The data set and split, such as "phantom" or "PhysioNet CT-ICH, patient-level test".
    columns
        Headers, that of the row names first.
    rows
        The cells by row name, in order.
    notes
        What a reader must know to judge it: counts, tests, errors of the paper.
    digits
        Decimals of its figures.

    Raises
    ------
    ValueError
        A row has not one cell for each column.
    """

    name: str
    title: str
    data: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[Cell, ...]]
    notes: tuple[str, ...] = ()
    digits: int = 3

    def __post_init__(self) -> None:
        for row, cells in self.rows.items():
            if len(cells) != len(self.columns) - 1:
                raise ValueError(f"row {row!r}: {len(cells)} cells under {self.columns[1:]}")

    def markdown(self) -> str:
        """Return the table with its data set in the header and its notes below."""
        lines = [self.columns, ["---"] * len(self.columns)]
        lines += [
            [name, *(cell.text(self.digits) for cell in cells)] for name, cells in self.rows.items()
        ]
        grid = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        notes = "\n".join(f"- {note}" for note in (*self.notes, NOTICE))
        return f"## {self.title}\n\nData: **{self.data}**\n\n{grid}\n\n{notes}\n"

    def to_json(self) -> str:
        """Return the same for machines; what is missing is null."""
        return json.dumps(asdict(self) | {"notice": NOTICE}, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        del values["notice"]
        rows = {
            name: tuple(
                Cell(**cell | {"interval": tuple(cell["interval"]) if cell["interval"] else None})
                for cell in cells
            )
            for name, cells in values["rows"].items()
        }
        lists = {key: tuple(values[key]) for key in ("columns", "notes")}
        return cls(**values | lists | {"rows": rows})

    def write(self, folder: Path) -> None:
        """Write name.md and name.json into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.md").write_text(self.markdown())
        (folder / f"{self.name}.json").write_text(self.to_json())


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """One reader's scores of a set of cases (slices or studies).

    Attributes
    ----------
    truth
        (n,) bool.
    score
        (n,) float, the higher the more suspect.
    patient
        (n,) whose case it is, numbers or names.
    threshold
        A case is called positive from here: 0.5 [paper], or the point locked on the tuning set.

    Raises
    ------
    ValueError
        The shapes differ, or a case has no score: leave it out and say so, for it would be
        counted as called negative.
    """

    truth: Bools
    score: Floats
    patient: NDArray[Any]
    threshold: float = 0.5

    def __post_init__(self) -> None:
        _check(self.score, (len(self.patient),), self.truth)

    def only(self, keep: Bools) -> "Scores":
        """Return the cases of (n,) `keep`."""
        return replace(
            self, truth=self.truth[keep], score=self.score[keep], patient=self.patient[keep]
        )

    def among(self, positives: Bools) -> "Scores":
        """Return these positive cases and all negative ones."""
        return self.only(~self.truth | positives)

    def measure(self) -> dict[str, Cell]:
        """AUC, sensitivity, specificity, accuracy, PPV and NPV with their intervals."""
        called = self.score >= self.threshold
        correct = called == self.truth
        groups = {
            "sensitivity": self.truth,
            "specificity": ~self.truth,
            "accuracy": np.ones_like(self.truth),
            "PPV": called,
            "NPV": ~called,
        }

        def figures(weights: Floats) -> Floats:
            shares = [weighted_share(correct, group, weights) for group in groups.values()]
            return np.column_stack([weighted_auc(self.score, self.truth, weights), *shares])

        (area, *values), (bound, *bounds) = _estimate(figures, self.patient, self.truth)
        positives, negatives = (_count(self.patient[each]) for each in (self.truth, ~self.truth))
        # One patient alone does not vary from draw to draw, and no interval says so.
        bound = bound if min(positives, negatives) > 1 else None
        cells = {"AUC": _cell(area, bound, lambda right: separated(right, positives, negatives))}
        for (name, group), value, bound in zip(groups.items(), values, bounds, strict=True):
            cells[name] = _cell(value, bound, _none_or_all(_count(self.patient[group])))
        return cells

    def count(self) -> str:
        """How many cases of how many patients these are."""
        cases = f"{len(self.truth)} cases ({self.truth.sum()} positive)"
        return f"{cases}, {_count(self.patient)} patients"


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """One reader's probabilities of the six labels.

    Attributes
    ----------
    truth, score
        (n, 6) bool and float, in the order of `LABELS`.
    patient
        (n,) whose slice or scan it is.
    threshold
        As in `Scores`, of every label.

    Raises
    ------
    ValueError
        As of `Scores`.
    """

    truth: Bools
    score: Floats
    patient: NDArray[Any]
    threshold: float = 0.5

    def __post_init__(self) -> None:
        _check(self.score, (len(self.patient), len(LABELS)), self.truth)

    def of(self, label: str) -> Scores:
        """Return the cases' scores of one label."""
        column = LABELS.index(label)
        return Scores(self.truth[:, column], self.score[:, column], self.patient, self.threshold)

    def by_scan(self, scan: NDArray[Any]) -> "Labelled":
        """Return scans of the slices: the largest of their slices [paper: Burduja 2020].

        Parameters
        ----------
        scan
            (n,) scan of each slice.
        """
        _, first, which = np.unique(scan, return_index=True, return_inverse=True)
        score = np.full((len(first), len(LABELS)), -np.inf)
        np.maximum.at(score, which, self.score)
        truth = np.zeros(score.shape, bool)
        np.logical_or.at(truth, which, self.truth)
        return Labelled(truth, score, self.patient[first], self.threshold)


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """One reader's probabilities of the exclusive classes.

    Attributes
    ----------
    truth
        (n,) int, index into `CLASSES`.
    score
        (n, 6) float, softmax over `CLASSES`.
    patient
        (n,) whose image it is.

    Raises
    ------
    ValueError
        As of `Scores`.
    """

    truth: NDArray[np.integer[Any]]
    score: Floats
    patient: NDArray[Any]

    def __post_init__(self) -> None:
        _check(self.score, (len(self.patient), len(CLASSES)))

    def figures(self, weights: Floats) -> Floats:
        """(r, 8) accuracy, mean AUC of each class present against the rest, each sensitivity.

        Parameters
        ----------
        weights
            (r, n) how often each image is drawn.
        """
        correct = self.score.argmax(1) == self.truth
        members = [self.truth == index for index in range(len(CLASSES))]
        present = [index for index, member in enumerate(members) if member.any()]
        areas = [weighted_auc(self.score[:, i], members[i], weights) for i in present]
        area = np.mean(areas, axis=0) if areas else np.full(len(weights), np.nan)
        shares = [weighted_share(correct, member, weights) for member in members]
        return np.column_stack([weighted_share(correct, correct | True, weights), area, *shares])

    def measure(self) -> list[Cell]:
        """`figures` with their intervals."""
        values, bounds = _estimate(self.figures, self.patient, self.truth > 0)
        holders = [self.patient] + [self.patient[self.truth == i] for i in range(len(CLASSES))]
        accuracy, *shares = (_none_or_all(_count(patients)) for patients in holders)
        edges = (accuracy, None, *shares)
        return [_cell(*each) for each in zip(values, bounds, edges, strict=True)]

    def count(self) -> str:
        """How many images of how many patients these are."""
        return f"{len(self.truth)} images, {_count(self.patient)} patients"


KANG = "Kang 2023, Front Neurol 14:1321964"

METHOD = (
    "Intervals: 95 %, 500 bootstrap replications over patients, stratified (Wilson's or "
    "Newcombe's by the number of patients where the figure is 0 or 1). p: DeLong's paired test, "
    "placements summed within each patient (Obuchowski 1997), adjusted by Holm's rule over the "
    "tests of its column."
)

T2_ERRATUM = (
    "The paper finds that InceptionResNetV2, MobileNetV2 and VGG19 gain from strong labels and "
    "DenseNet121 does not. Several of its intervals in this table are far too narrow for their "
    "counts."
)

KANG_T3 = {
    "1+2": "0.938",
    "1+2+3": "0.936",
    "1+2+4": "0.944",
    "1+2+5": "0.946",
    "1+2+3+4+5": "0.951",
}
"""AUC on all cases of each ensemble of base models [paper]."""

ALL_FIVE = "1+2+3+4+5"

KANG_T4 = {
    "ensemble": ("0.953 (0.938 to 0.965)", "0.928", "0.857"),
    "inception_resnet_v2": ("0.852 (0.828 to 0.873)", None, None),
    "densenet121": ("0.875 (0.852 to 0.895)", None, None),
    "vgg19_bn": ("0.796 (0.770 to 0.821)", None, None),
    "mobilenetv2_100": ("0.650 (0.620 to 0.680)", None, None),
}
"""AUC, sensitivity and specificity [paper]."""

KANG_COUNTS = "The paper's Table 3 uses 492/494 cases and its Table 4 487/499, without a reason."


def kang_t2(networks: Mapping[str, Mapping[str, Scores]], reference: str, data: str) -> Table:
    """Weak against strong labels: each network in each arm, tested against the reference arm.

    Parameters
    ----------
    networks
        By network (timm's name), by arm: all arms of a network on the same cases.
    reference
        The arm that the others are compared with.
    data
        Data set and split.
    """
    p = _adjusted(
        {
            (network, arm): value
            for network, arms in networks.items()
            for arm, value in _against(arms, reference).items()
        }
    )
    rows = {
        f"{_named(network)}, {arm}": _headline(scores, p.get((network, arm)))
        for network, arms in networks.items()
        for arm, scores in arms.items()
    }
    counts = _counts({_named(network): arms[reference] for network, arms in networks.items()})
    return Table(
        "kang-t2",
        f"{KANG}, Table 2: weak against strong labels",
        data,
        ("network, labels", "AUC", "sensitivity", "specificity"),
        rows,
        (
            f"Reference: {reference}. {counts}",
            METHOD,
            T2_ERRATUM,
        ),
    )


def kang_t3(arms: Mapping[str, Scores], subtypes: Bools, data: str) -> Table:
    """AUC of the ensembles, their members and the plain mean, on all, SDH and SAH cases.

    Parameters
    ----------
    arms
        On the same cases: those of `KANG_T3`, and any others such as "model 1" or "mean of five".
    subtypes
        (n, 5) bool, `SUBTYPES` of each case. Negative cases stand in every column.
    data
        Data set and split.
    """
    whole = arms[ALL_FIVE]
    columns = {"all": whole.truth} | {
        name: subtypes[:, SUBTYPES.index(name)] for name in ("subdural", "subarachnoid")
    }
    chosen = {
        column: {name: scores.among(positives) for name, scores in arms.items()}
        for column, positives in columns.items()
    }
    p = {column: _adjusted(_against(among, ALL_FIVE)) for column, among in chosen.items()}

    def cell(name: str, column: str) -> Cell:
        paper = KANG_T3.get(name) if column == "all" else None
        area = chosen[column][name].measure()["AUC"]
        return replace(area, p=p[column].get(name), paper=paper)

    counts = _counts({column: among[ALL_FIVE] for column, among in chosen.items()})
    return Table(
        "kang-t3",
        f"{KANG}, Table 3: AUC of the ensembles",
        data,
        ("base models", *columns),
        {name: tuple(cell(name, column) for column in columns) for name in arms},
        (
            f"Reference: {ALL_FIVE}. {counts}",
            METHOD,
            "Several of the paper's intervals in this table are far too narrow for their counts.",
            KANG_COUNTS,
        ),
    )


def kang_t4(ensemble: Scores, classifiers: Mapping[str, Scores], data: str) -> Table:
    """The ensemble against the classifiers (by timm's name), on the same cases."""
    arms = {"ensemble": ensemble, **classifiers}
    p = _adjusted(_against(arms, "ensemble"))
    return Table(
        "kang-t4",
        f"{KANG}, Table 4: the weighted ensemble against four networks",
        data,
        ("network", "AUC", "sensitivity", "specificity"),
        {
            _named(name): _headline(scores, p.get(name), KANG_T4.get(name))
            for name, scores in arms.items()
        },
        (
            f"Reference: ensemble. {ensemble.count()}. Thresholds: "
            + ", ".join(f"{_named(k)} {v.threshold:.3g}" for k, v in arms.items())
            + " (the paper: 0.5).",
            METHOD,
            KANG_COUNTS,
        ),
    )


BURDUJA = "Burduja 2020, Sensors 20:5611"

CNN = "CNN alone"

BURDUJA_T2 = {CNN: "0.06259", "PCA-120 + predictions": "0.04989"}
"""Weighted log loss [paper]."""


def burduja_t2(models: Mapping[str, Labelled], data: str) -> Table:
    """Weighted log loss of the CNN alone and of each selection of its features.

    Parameters
    ----------
    models
        On the same slices: `CNN` and each sequence reader, by the names of `BURDUJA_T2`.
    data
        Data set and split.
    """
    alone = models[CNN]

    def row(name: str, model: Labelled) -> tuple[Cell, Cell]:
        _same_cases(alone, model, name)

        losses = slice_losses(model.score, model.truth)
        both = np.column_stack([losses, losses - slice_losses(alone.score, alone.truth)])

        def figures(weights: Floats) -> Floats:
            return np.asarray(weights @ both / weights.sum(1, keepdims=True))

        estimate = _estimate(figures, model.patient, model.truth[:, 0])
        found = [_cell(*each) for each in zip(*estimate, strict=True)]
        return replace(found[0], paper=BURDUJA_T2.get(name)), found[1]

    return Table(
        "burduja-t2",
        f"{BURDUJA}, Table 2: weighted log loss",
        data,
        ("model", "weighted log loss", f"difference from {CNN}"),
        {name: row(name, model) for name, model in models.items()},
        (
            f"{alone.of('any').count()}.",
            'Weight 2 on "any", 1 on each subtype, divided by 7. Intervals: 95 %, 500 bootstrap '
            "replications over patients, stratified; differences are paired.",
            "The paper's values are of the challenge's data; a log loss compares within a data set "
            "only.",
        ),
        digits=5,
    )


def burduja_t3(slices: Mapping[str, Labelled], scans: Mapping[str, Labelled], data: str) -> Table:
    """Each label on slices and on scans: the first model, and the others against it.

    Parameters
    ----------
    slices, scans
        By model, `CNN` first; scans by `Labelled.by_scan`.
    data
        Data set and split.
    """
    levels = {"slices": slices, "scans": scans}
    keys = [(label, level) for level in levels for label in LABELS]
    arms = {
        (label, level): {name: model.of(label) for name, model in levels[level].items()}
        for label, level in keys
    }
    p = _adjusted(
        {(*key, name): value for key in keys for name, value in _against(arms[key], CNN).items()}
    )
    figures = ("accuracy", "AUC", "sensitivity", "specificity")

    def row(key: tuple[str, str], name: str) -> tuple[Cell, ...]:
        cells = arms[key][name].measure()
        cells["AUC"] = replace(cells["AUC"], p=p.get((*key, name)))
        return tuple(cells[figure] for figure in figures)

    return Table(
        "burduja-t3",
        f"{BURDUJA}, Table 3: the six labels on slices and on scans",
        data,
        ("label, level, model", *figures),
        {
            f"{label}, {level}, {name}": row((label, level), name)
            for label, level in keys
            for name in arms[label, level]
        },
        (
            _counts({level: models[CNN].of("any") for level, models in levels.items()}),
            f"A scan's score is the largest of its slices. Reference: {CNN}.",
            METHOD,
        ),
    )


WU = "Wu 2024, Radiology AI, ryai.230296"

WU_PAPER = {"local": ("0.857", "0.96"), "external": ("0.893", "0.96")}
"""PPV and AUC [paper]; local n = 7,243, external n = 491."""


def wu(sets: Mapping[str, Scores], data: str) -> Table:
    """PPV and AUC of the attention reader on each set ("local" and "external" in the paper)."""
    at = [f"{name} at {share:.0%}" for share in PREVALENCES for name in ("PPV", "NPV")]

    def row(name: str, scores: Scores) -> tuple[Cell, ...]:
        cells = scores.measure()
        ppv, area = WU_PAPER.get(name, (None, None))
        return (
            replace(cells["PPV"], paper=ppv),
            replace(cells["AUC"], paper=area),
            cells["sensitivity"],
            cells["specificity"],
            *(
                cell
                for share in PREVALENCES
                for cell in _at_prevalence(cells["sensitivity"], cells["specificity"], share)
            ),
        )

    return Table(
        "wu",
        f"{WU}: study-level labels",
        data,
        ("test set", "PPV", "AUC", "sensitivity", "specificity", *at),
        {name: row(name, scores) for name, scores in sets.items()},
        (
            _counts(sets),
            "PPV is that of the set as it is composed; beside it stand PPV and NPV at the "
            "prevalences named, by Bayes, their limits from the limits of sensitivity and "
            "specificity together (wider than 95 %).",
            "Intervals: 95 %, 500 bootstrap replications over patients, stratified (Wilson's or "
            "Newcombe's where the figure is 0 or 1).",
        ),
    )


def readers(
    truth: Bools, calls: Mapping[str, Bools], reference: str, data: str, name: str = "wu-readers"
) -> Table:
    """Accuracy, sensitivity and specificity of readers on the same scans, McNemar's test between.

    Serves Wu's 100 scans, Burduja's Table 5 and Kang's difficult cases alike.

    Parameters
    ----------
    truth
        (n,) bool, one scan a patient.
    calls
        (n,) bool by reader, the AI among them.
    reference
        The reader that the others are compared with, usually the AI.
    data
        Data set and split.
    name
        Stem of the files.
    """
    correct = {reader: call == truth for reader, call in calls.items()}
    p = _adjusted(
        {
            reader: mcnemar(correct[reader], correct[reference])
            for reader in calls
            if reader != reference
        }
    )

    def row(reader: str) -> tuple[Cell, ...]:
        accuracy, *others = (
            _proportion(correct[reader][group]) for group in (np.ones_like(truth), truth, ~truth)
        )
        return (replace(accuracy, p=p.get(reader)), *others)

    people = [call for reader, call in calls.items() if reader != reference]
    kappa = fleiss_kappa(np.stack(people, axis=1)) if len(people) > 1 else float("nan")
    return Table(
        name,
        "Readers against each other",
        data,
        ("reader", "accuracy", "sensitivity", "specificity"),
        {reader: row(reader) for reader in calls},
        (
            f"{len(truth)} scans ({truth.sum()} positive). Reference: {reference}.",
            "Intervals: Wilson, 95 %. p: McNemar's test of the calls that were right (exact below "
            "25 discordant pairs, else with continuity correction), adjusted by Holm's rule.",
            "Fleiss' kappa of the readers other than the reference: "
            + ("not defined." if np.isnan(kappa) else f"{kappa:.3f}."),
        ),
    )


ZHOU = "Zhou 2022, Curr Pharm Des 28(4)"

PATIENT_LEVEL, IMAGE_LEVEL = "patient-level", "image-level"

ZHOU_PAPER = {
    "resnet18": {"accuracy": "0.8964", "AUC": "> 0.9"},
    "densenet121": {
        "accuracy": "0.825",
        "AUC": "> 0.9",
        "intraventricular": "0.73",
        "intraparenchymal": "0.76",
    },
}
"""The paper's values by timm's name; a class's is its sensitivity."""


def zhou(splits: Mapping[str, Mapping[str, Classes]], data: str) -> Table:
    """Six exclusive classes under both splits, and what the image-level split adds: the leak.

    Parameters
    ----------
    splits
        By `PATIENT_LEVEL` (the headline) and `IMAGE_LEVEL`, by network (timm's name).
    data
        Data set.
    """
    columns = ("accuracy", "AUC", *CLASSES)

    def row(network: str, found: Sequence[Cell]) -> tuple[Cell, ...]:
        paper = ZHOU_PAPER.get(network, {})
        return tuple(
            replace(cell, paper=paper.get(name)) for name, cell in zip(columns, found, strict=True)
        )

    tested, rows = {}, {}
    for split, networks in splits.items():
        for network, found in networks.items():
            name = f"{_named(network)}, {split}"
            tested[name], rows[name] = found, row(network, found.measure())
    honest, leaking = (splits.get(split, {}) for split in (PATIENT_LEVEL, IMAGE_LEVEL))
    rows |= {
        f"{_named(network)}, the leak": _leak(honest[network], leaking[network])
        for network in honest
        if network in leaking
    }
    return Table(
        "zhou",
        f"{ZHOU}: transfer learning, six exclusive classes",
        data,
        ("network, split", "accuracy", "AUC", *(f"{name}, sensitivity" for name in CLASSES)),
        rows,
        (
            _counts(tested),
            "The patient-level split is the headline. The image-level split has images of one "
            "patient on both sides: the leak is what it adds. The paper does not say which it "
            "used, so its values stand beside both.",
            "AUC: mean of each class present against the rest. Intervals: 95 %, 500 bootstrap "
            "replications over patients, stratified; the leak's takes the two test sets as "
            "independent.",
        ),
    )


def phantom(
    read: Scores,
    by_threshold: Scores,
    subtypes: Bools,
    named: Floats,
    volumes_ml: tuple[Floats, Floats],
    data: str = "phantom",
) -> Table:
    """Detection by subtype beside a plain HU threshold, naming, and volume against truth.

    Parameters
    ----------
    read, by_threshold
        The reader's and the HU threshold's scores of the same cases.
    subtypes
        (n, 5) bool, `SUBTYPES` of each case.
    named
        (n, 5) the reader's probabilities of them.
    volumes_ml
        (n,) true and (n,) found volumes in mL.
    data
        Which phantoms, with the word "phantom".
    """
    groups = {"any": read.truth} | {name: subtypes[:, i] for i, name in enumerate(SUBTYPES)}
    arms = {
        name: {"reader": read.among(group), "threshold": by_threshold.among(group)}
        for name, group in groups.items()
    }
    p = _adjusted({name: _against(pair, "threshold")["reader"] for name, pair in arms.items()})
    errors = volumes_ml[1] - volumes_ml[0]

    def row(name: str, group: Bools) -> tuple[Cell, ...]:
        detection, baseline = (arms[name][arm].measure()["AUC"] for arm in ("reader", "threshold"))
        naming = (
            Scores(group, named[:, SUBTYPES.index(name)], read.patient).measure()["AUC"]
            if name in SUBTYPES
            else detection
        )
        return (
            Cell(int(group.sum())),
            replace(detection, p=p[name]),
            baseline,
            naming,
            *_medians(errors[group], read.patient[group]),
        )

    return Table(
        "phantom",
        "Phantoms: detection, naming and volume by subtype",
        data,
        (
            "hemorrhage",
            "cases",
            "detection AUC",
            "HU threshold AUC",
            "naming AUC",
            "volume error, mL (median)",
            "absolute volume error, mL (median)",
        ),
        {name: row(name, group) for name, group in groups.items()},
        (
            f"{read.count()}. Phantoms show that nothing is broken, not how well"
            " patients are read.",
            "Detection: cases of the subtype, mixed ones among them, against all normal ones; p "
            "against the HU threshold. Naming: the subtype's probability on all cases "
            "(any: as detection). Volume error: found less true.",
            METHOD,
        ),
    )


def roc_figure(models: Mapping[str, Scores], title: str, data: str) -> bytes:
    """PNG of the ROC curves, each AUC with DeLong's interval (over patients) in the legend."""

    def draw(axes: "Axes") -> None:
        axes.plot((0, 1), (0, 1), color="0.8", linewidth=1)
        for name, scores in models.items():
            found = delong(scores.score, scores.truth, scores.patient)
            area, (low, high) = found.areas[0], found.intervals()[0]
            if np.isnan(area):
                axes.plot([], [], label=f"{name}: no case")
                continue
            label = f"{name}: {area:.3f} ({low:.3f} to {high:.3f})"
            axes.plot(*roc_curve(scores.score, scores.truth), label=label)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
        axes.legend(loc="lower right", fontsize="small", title="AUC (95 % interval, DeLong)")

    return _png(draw, title, data)


def reliability_figure(models: Mapping[str, Scores], title: str, data: str) -> bytes:
    """PNG of the reliability diagram, a larger dot for more cases, Brier score and ECE beside."""

    def draw(axes: "Axes") -> None:
        axes.plot((0, 1), (0, 1), color="0.8", linewidth=1)
        for name, scores in models.items():
            if not len(scores.truth):
                axes.plot([], [], label=f"{name}: no case")
                continue
            found = reliability(scores.score, scores.truth)
            label = (
                f"{name}: Brier {brier(scores.score, scores.truth):.3f}, "
                f"ECE {calibration_error(scores.score, scores.truth):.3f}"
            )
            (line,) = axes.plot(found.predicted, found.observed, label=label)
            size = 20 + 400 * found.count / found.count.sum()
            axes.scatter(found.predicted, found.observed, size, color=line.get_color(), alpha=0.6)
        axes.set(xlabel="predicted probability", ylabel="share of positives", aspect="equal")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.legend(loc="upper left", fontsize="small")

    return _png(draw, title, data)


def interval_figure(table: Table, column: str) -> bytes:
    """PNG of one column of a table: each row's figure and its interval."""
    index = table.columns.index(column) - 1

    def draw(axes: "Axes") -> None:
        for place, cells in enumerate(table.rows.values()):
            cell = cells[index]
            if cell.value is None:
                axes.annotate("no case", (0.02, place), xycoords=("axes fraction", "data"))
                continue
            axes.plot(cell.value, place, "o", color="C0")
            if cell.interval:
                axes.hlines(place, *cell.interval, color="C0")
        axes.set_yticks(range(len(table.rows)), list(table.rows))
        axes.set(xlabel=f"{column} (95 % interval)", ylim=(len(table.rows) - 0.5, -0.5))
        axes.grid(axis="x", color="0.9")

    return _png(draw, table.title, table.data, height=1.6 + 0.3 * len(table.rows))


def _png(draw: Callable[["Axes"], None], title: str, data: str, height: float = 5.6) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    axes.set_title(f"{title}\n{data} - research use only", fontsize="medium", wrap=True)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _check(score: Floats, shape: tuple[int, ...], truth: NDArray[Any] | None = None) -> None:
    """Raise ValueError unless scores are numbers of this shape, and truths bool of the same."""
    if score.shape != shape:
        raise ValueError(f"scores of shape {score.shape} for {shape}")
    if truth is not None and (truth.shape != shape or truth.dtype != bool):
        raise ValueError(f"truths of {truth.dtype} {truth.shape} where bool {shape} is needed")
    if unread := int(np.isnan(score).sum()):
        raise ValueError(f"{unread} scores are missing: leave those cases out and say so")


def _same_cases(one: Scores | Labelled, other: Scores | Labelled, name: str) -> None:
    if not (np.array_equal(one.truth, other.truth) and np.array_equal(one.patient, other.patient)):
        raise ValueError(f"{name}: other cases than the reference's, so no paired comparison")


def _against(arms: Mapping[str, Scores], reference: str) -> dict[str, float]:
    """DeLong's p of every other arm against the reference."""
    if reference not in arms:
        raise ValueError(f"the reference {reference!r} is not among {sorted(arms)}")
    cases = arms[reference]
    for name, scores in arms.items():
        _same_cases(cases, scores, name)
    found = delong([scores.score for scores in arms.values()], cases.truth, cases.patient)
    _, p = found.compare(list(arms).index(reference))
    return {name: float(value) for name, value in zip(arms, p, strict=True) if name != reference}


def _adjusted(p: Mapping[Any, float]) -> dict[Any, float | None]:
    """Holm's adjustment over all of them; None where there was no test."""
    adjusted = holm(list(p.values()))
    return {
        key: None if np.isnan(value) else float(value)
        for key, value in zip(p, adjusted, strict=True)
    }


def _counts(sets: Mapping[str, Scores | Classes]) -> str:
    return "; ".join(f"{name}: {cases.count()}" for name, cases in sets.items()) + "."


def _named(network: str) -> str:
    return NETWORKS.get(network, network)


def _headline(
    scores: Scores, p: float | None, paper: Sequence[str | None] | None = None
) -> tuple[Cell, ...]:
    cells = scores.measure()
    printed = paper or (None, None, None)
    found = [
        replace(cells[name], paper=text)
        for name, text in zip(("AUC", "sensitivity", "specificity"), printed, strict=True)
    ]
    return replace(found[0], p=p), *found[1:]


def _at_prevalence(sensitivity: Cell, specificity: Cell, prevalence: float) -> list[Cell]:
    """PPV and NPV; both rise with sensitivity and specificity, so their limits follow."""
    if sensitivity.value is None or specificity.value is None:
        return [Cell(), Cell()]
    values = predictive_values(sensitivity.value, specificity.value, prevalence)
    if sensitivity.interval is None or specificity.interval is None:
        return [_cell(value) for value in values]
    lows, highs = (
        predictive_values(sensitivity.interval[end], specificity.interval[end], prevalence)
        for end in (0, 1)
    )
    return [
        _cell(value, np.array(bounds)) for value, *bounds in zip(values, lows, highs, strict=True)
    ]


def _leak(honest: Classes, leaking: Classes) -> tuple[Cell, ...]:
    with_leak, without = (
        each.figures(np.ones((1, len(each.truth))))[0] for each in (leaking, honest)
    )
    drawn = [
        draws(each.figures, each.patient, each.truth > 0, seed=seed)
        for seed, each in enumerate((leaking, honest))
    ]
    bounds = percentiles(drawn[0] - drawn[1]).T
    return tuple(_cell(*each) for each in zip(with_leak - without, bounds, strict=True))


def _medians(errors: Floats, patient: NDArray[Any]) -> list[Cell]:
    """Median error and median absolute error."""

    def figures(weights: Floats) -> Floats:
        drawn = [np.repeat(errors, row.astype(int)) for row in weights]
        return np.array([(np.median(row), np.median(np.abs(row))) for row in drawn])

    if not len(errors):
        return [Cell(), Cell()]
    found = _estimate(figures, patient, np.ones(len(patient), bool))
    return [_cell(*each) for each in zip(*found, strict=True)]


def _proportion(correct: Bools) -> Cell:
    hits, trials = int(correct.sum()), len(correct)
    return Cell(hits / trials, wilson(hits, trials)) if trials else Cell()


def _cell(
    value: float,
    bounds: Floats | None = None,
    at_the_edge: Callable[[bool], tuple[float, float]] | None = None,
) -> Cell:
    """Return a figure's cell; `at_the_edge` gives the interval of a figure of 0 or 1."""
    if np.isnan(value):
        return Cell()
    if at_the_edge and value in (0, 1):
        return Cell(float(value), at_the_edge(bool(value)))
    if bounds is None or np.isnan(bounds).any() or bounds[0] == bounds[1]:
        return Cell(float(value))
    return Cell(float(value), (float(bounds[0]), float(bounds[1])))


def _none_or_all(patients: int) -> Callable[[bool], tuple[float, float]]:
    return lambda right: wilson(patients if right else 0, patients)


def _estimate(
    figures: Callable[[Floats], Floats], patient: NDArray[Any], positive: Bools
) -> tuple[Floats, Floats]:
    """Return (f,) figures of all cases, and their (f, 2) bounds."""
    bounds = percentiles(draws(figures, patient, positive))
    return figures(np.ones((1, len(patient))))[0], bounds.T


def _count(patient: NDArray[Any]) -> int:
    return len(np.unique(patient))
