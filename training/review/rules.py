"""The difficult-case review of Kang 2023 (Front Neurol 14:1321964): select, read blind, revise.

Cases that are difficult for the AI or for the annotators are read again by a panel that sees
neither truth nor AI; the panel is measured, and its majority may revise the truth.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.metrics.statistics import bootstrap, fleiss_kappa, holm, mcnemar, wilson
from training.review.readings import Reading, Result, ReviewError, read_readings

POSITIVE_AT_MOST = 0.6
"""A positive case with a probability up to this is difficult for the AI (Kang 2023)."""

NEGATIVE_AT_LEAST = 0.4
"""A negative case with a probability from this on is difficult for the AI (Kang 2023)."""

THRESHOLD = 0.5
"""The AI calls a case positive from this probability on (Kang 2023)."""

PAPER_KAPPA = 0.536
"""Fleiss' kappa of Kang 2023's six experts on its difficult cases."""

AI = "AI"

Readings = Mapping[str, Mapping[str, Reading]]
"""By reader, then by case."""


def select(
    results: Sequence[Result],
    positive_at_most: float = POSITIVE_AT_MOST,
    negative_at_least: float = NEGATIVE_AT_LEAST,
) -> list[Result]:
    """Mark the difficult cases and for whom they are; nothing else is changed.

    For the AI: positive with P <= 0.6 or negative with P >= 0.4. For humans: the annotators who
    voted were not unanimous. For a reader: one disagreed with the AI at work. A case that the AI
    did not analyse has no P, so only annotators and readers can make it difficult.
    """

    def difficult(each: Result) -> tuple[str, ...]:
        p = each.probability
        for_ai = p is not None and (p <= positive_at_most if each.truth else p >= negative_at_least)
        found = {"ai": for_ai, "humans": len(set(each.votes)) > 1, "reader": bool(each.mistake)}
        return tuple(whom for whom, holds in found.items() if holds)

    return [replace(each, difficult=difficult(each)) for each in results]


def with_doubts(results: Sequence[Result], doubts: Sequence[Result]) -> list[Result]:
    """Return the results with what readers disagreed about: marked, and added where it is new.

    A case is known by its name or by its SeriesInstanceUID. Its truth stays that of the results,
    which is better founded than one reader's word.
    """
    by_name = {each.case: each.mistake for each in doubts}
    by_uid = {each.uids[1]: each.mistake for each in doubts if each.uids[1]}
    marked = [
        replace(each, mistake=by_uid.get(each.uids[1]) or by_name.get(each.case, each.mistake))
        for each in results
    ]
    names, uids = {each.case for each in results}, {each.uids[1] for each in results} - {""}
    new = [each for each in doubts if each.case not in names and each.uids[1] not in uids]
    return [*marked, *new]


def collect(files: Sequence[Path], difficult: Sequence[Result]) -> dict[str, dict[str, Reading]]:
    """Read the readers' files; a reader is called as the file is.

    Raises
    ------
    ReviewError
        If there is no file, two have one name, or a file cannot be understood.
    """
    if not files:
        raise ReviewError("no readings: no CSV file of a reader was found")
    names = [AI, *(file.stem for file in files)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ReviewError(f"each reader has one file and a name of its own: {', '.join(twice)}")
    cases = {each.case for each in difficult}
    return {file.stem: read_readings(file, cases) for file in files}


def figure(value: float, interval: tuple[float, float]) -> str:
    """Return a figure with its 95 % interval as people read it."""
    if math.isnan(value):
        return "n/a"
    low, high = interval
    return f"{value:.3f}" + ("" if math.isnan(low) else f" ({low:.3f} to {high:.3f})")


@dataclass(frozen=True, slots=True)
class Proportion:
    """A count out of another."""

    hits: int
    trials: int

    @property
    def value(self) -> float:
        """In 0..1, NaN where there was no trial."""
        return self.hits / self.trials if self.trials else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval, NaN where there was no trial."""
        return wilson(self.hits, self.trials) if self.trials else (math.nan, math.nan)

    def __str__(self) -> str:
        return f"{figure(self.value, self.interval)} {self.hits}/{self.trials}"


@dataclass(frozen=True, slots=True)
class Performance:
    """One reader, or the AI, against the truth.

    Attributes
    ----------
    accuracy, sensitivity, specificity
        Over the cases that the reader read.
    unread
        Names of the cases that it did not.
    """

    reader: str
    accuracy: Proportion
    sensitivity: Proportion
    specificity: Proportion
    unread: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The AI against one reader on the cases that both read: McNemar's test.

    Attributes
    ----------
    cases
        How many both read.
    ai_alone, reader_alone
        Cases on which only this one was right.
    p, p_holm
        As tested, and adjusted for all readers (Holm); NaN where there is no case.
    """

    reader: str
    cases: int
    ai_alone: int
    reader_alone: int
    p: float
    p_holm: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a panel's readings show.

    Attributes
    ----------
    performances
        The AI, then the readers.
    comparisons
        One for each reader.
    kappa, kappa_interval, kappa_cases
        Fleiss' kappa of "any" over the cases that all readers read, its 95 % bootstrap interval
        and their number; NaN for fewer than two readers, or if all said the same throughout.
    absent
        Readers who read nothing: left out of everything else.
    """

    performances: tuple[Performance, ...]
    comparisons: tuple[Comparison, ...]
    kappa: float
    kappa_interval: tuple[float, float]
    kappa_cases: int
    absent: tuple[str, ...]


def agree(
    difficult: Sequence[Result], readings: Readings, threshold: float = THRESHOLD
) -> Agreement:
    """Measure each reader and the AI on the difficult cases, and the readers against each other.

    Raises
    ------
    ReviewError
        If nobody read anything.
    """
    truth = {each.case: each.truth for each in difficult}
    readers, absent = present(readings)
    ai = ai_calls(difficult, threshold)
    everyone = {AI: ai, **readers}
    by_all = [case for case in truth if all(case in calls for calls in readers.values())]
    named = np.array([[calls[case] for calls in readers.values()] for case in by_all], bool)
    return Agreement(
        performances=tuple(performance(name, calls, truth) for name, calls in everyone.items()),
        comparisons=_comparisons(ai, readers, truth),
        kappa=_kappa(named),
        kappa_interval=bootstrap(lambda picks: _kappa(named[picks]), [True] * len(by_all))
        if by_all
        else (math.nan, math.nan),
        kappa_cases=len(by_all),
        absent=absent,
    )


def present(readings: Readings) -> tuple[dict[str, dict[str, bool]], tuple[str, ...]]:
    """Return what each reader called bleeding or not, and who read nothing at all.

    Raises
    ------
    ReviewError
        If that is everybody.
    """
    calls = {
        reader: {
            case: reading.labels[0]
            for case, reading in read.items()
            if reading.labels[0] is not None
        }
        for reader, read in readings.items()
    }
    if not any(calls.values()):
        raise ReviewError("nobody has read a case yet: the column 'any' is blank throughout")
    absent = tuple(reader for reader, read in calls.items() if not read)
    return {reader: read for reader, read in calls.items() if read}, absent


def ai_calls(cases: Sequence[Result], threshold: float = THRESHOLD) -> dict[str, bool]:
    """Return what the AI calls bleeding or not, of the cases that it analysed."""
    return {
        each.case: each.probability >= threshold for each in cases if each.probability is not None
    }


def performance(name: str, calls: Mapping[str, bool], truth: Mapping[str, bool]) -> Performance:
    """Measure calls against the truth; a case without a call is named, never counted."""

    def right(cases: list[str]) -> Proportion:
        return Proportion(sum(calls[case] == truth[case] for case in cases), len(cases))

    read = [case for case in truth if case in calls]
    return Performance(
        reader=name,
        accuracy=right(read),
        sensitivity=right([case for case in read if truth[case]]),
        specificity=right([case for case in read if not truth[case]]),
        unread=tuple(case for case in truth if case not in calls),
    )


def _comparisons(
    ai: Mapping[str, bool], readers: Mapping[str, Mapping[str, bool]], truth: Mapping[str, bool]
) -> tuple[Comparison, ...]:
    found = []
    for reader, calls in readers.items():
        both = [case for case in truth if case in ai and case in calls]
        by_ai = np.array([ai[case] == truth[case] for case in both], bool)
        by_reader = np.array([calls[case] == truth[case] for case in both], bool)
        found.append(
            Comparison(
                reader=reader,
                cases=len(both),
                ai_alone=int((by_ai & ~by_reader).sum()),
                reader_alone=int((by_reader & ~by_ai).sum()),
                p=mcnemar(by_ai, by_reader) if both else math.nan,
                p_holm=math.nan,
            )
        )
    adjusted = holm([each.p for each in found])
    return tuple(replace(each, p_holm=float(p)) for each, p in zip(found, adjusted, strict=True))


def _kappa(named: NDArray[np.bool_]) -> float:
    """Fleiss' kappa of (cases, readers) calls; NaN for fewer than two readers or no case."""
    return fleiss_kappa(named) if named.ndim == 2 and named.shape[1] > 1 else math.nan
