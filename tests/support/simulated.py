"""Simulated scores of readers, for the tests of figures and tables."""

import numpy as np

from training.metrics.scores import Classes, Labelled, Scores
from training.metrics.tables import Cell, Table

DATA = "phantom"


def scores(shift: float = 1.5, n: int = 80, seed: int = 0, slices: int = 2) -> Scores:
    """Sigmoid scores of `n` cases, `slices` of each patient; the truths are the same always."""
    truth = np.random.default_rng(9).random(n) < 0.4
    logits = np.random.default_rng(seed).normal(shift * (2 * truth - 1), 1.5)
    return Scores(truth, 1 / (1 + np.exp(-logits)), np.arange(n) // slices)


def labelled(shift: float, seed: int, n: int = 60) -> Labelled:
    """Probabilities of `n` slices, three of each patient."""
    subtypes = np.random.default_rng(9).random((n, 5)) < 0.2
    truth = np.column_stack([subtypes.any(1), subtypes])
    logits = np.random.default_rng(seed).normal(shift * (2 * truth - 1), 1)
    return Labelled(truth, 1 / (1 + np.exp(-logits)), np.arange(n) // 3)


def classes(right: float, seed: int = 0, n: int = 90) -> Classes:
    """Probabilities of `n` images, two of each patient; about `right` of them are right."""
    random = np.random.default_rng(seed)
    truth = np.arange(n) % 6
    named = np.where(random.random(n) < right, truth, random.integers(0, 6, n))
    score = random.random((n, 6)) + 3 * np.eye(6)[named]
    return Classes(truth, score / score.sum(1, keepdims=True), np.arange(n) // 2)


def column(table: Table, name: str) -> dict[str, Cell]:
    """Return a table's column by row."""
    index = table.columns.index(name) - 1
    return {row: cells[index] for row, cells in table.rows.items()}
