"""The reference standard: what each study was in truth, as far as anybody knows.

People's decisions go before the report's label. As soon as people decided anything, the labels of
reports only say which cell a study is in: its cell's sample then stands for it, and never the label
itself, unless of its cell nobody decided anything.

Only a study that was drawn may stand for others: with which probability any other came to be
decided, nobody knows, and people look at what is striking first (verification bias; Begg and
Greenes, Biometrics 1983;39:207). A decision outside of the sample is shown, and changes no figure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from node.archive.acceptance.figures import Counted, exact
from node.archive.adjudication import Cell, Decision, Decisions, Sample, cell_of, settled
from node.archive.evidence import Study

PEOPLE, REPORT, SAMPLE = "people", "report", "sample of its cell"
"""By what a study's truth is known."""

_LABELS = {"bleeds": True, "none": False}


@dataclass(frozen=True, slots=True)
class CellTold:
    """One cell, and what is known of it.

    Attributes
    ----------
    asked, decided, bleeding
        How many people were asked about; how many of these they settled; how many of those bleed.
    by
        `PEOPLE` or `REPORT`; "" where nothing is known, and its studies are left out.
    """

    cell: Cell
    studies: int
    asked: int
    decided: int
    bleeding: int
    by: str

    @property
    def share(self) -> float | None:
        """The share of bleeds among those that are known."""
        return self.bleeding / self.decided if self.decided else None

    @property
    def weight(self) -> float:
        """How many studies each that is known stands for, itself among them."""
        return self.studies / self.decided if self.decided else 0.0

    @property
    def unseen(self) -> int:
        """How many the sample stands for."""
        return self.studies - self.decided if self.by == PEOPLE else 0

    def to_json(self) -> dict[str, Any]:
        """Return it as the report's JSON has it.

        `unseen_bleeds` are what the sample leaves room for among those that nobody looked at.
        """
        ends = exact(self.bleeding, self.decided) if self.unseen else (0.0, 0.0)
        return {
            "cell": str(self.cell),
            "flagged": self.cell.flagged,
            "report": self.cell.says,
            "studies": self.studies,
            "asked": self.asked,
            "known": self.decided,
            "bleeding": self.bleeding,
            "known_by": self.by,
            "weight": self.weight,
            "unseen": self.unseen,
            "unseen_bleeds": [self.unseen * end for end in ends],
        }


@dataclass(frozen=True, slots=True)
class Member:
    """One study and what is known of it.

    Attributes
    ----------
    cell
        None where the study was not analysed.
    answers
        What people decided and stands.
    truth
        Whether it bleeds, as the figures take it; None if that is not known of this study itself.
    by
        By what the figures know it: `PEOPLE`, `REPORT`, `SAMPLE`; "" if it is left out of them.
    expected
        The truth as 0 or 1, or the share of its cell; None if it is left out.
    weight
        How many studies it stands for in the ROC curve and the calibration, which take only studies
        whose own truth is known.
    """

    study: Study
    cell: Cell | None
    answers: tuple[Decision, ...]
    truth: bool | None
    by: str
    expected: float | None
    weight: float

    @property
    def settled(self) -> bool | None:
        """Whether it bleeds by people, drawn or not; None if they have not settled it."""
        return settled(self.answers)

    @property
    def bleeds(self) -> bool | None:
        """Whether it bleeds as far as anybody knows of this study itself, people first."""
        return self.truth if self.settled is None else self.settled

    @property
    def outside(self) -> bool:
        """Whether people settled it and the figures do not take their word: it was not drawn."""
        return self.settled is not None and self.by != PEOPLE


@dataclass(frozen=True, slots=True)
class Reference:
    """All studies that were read, and the cells of those that were analysed."""

    members: tuple[Member, ...]
    cells: tuple[CellTold, ...]

    @property
    def by_people(self) -> bool:
        """Whether people decided anything."""
        return any(each.by == PEOPLE for each in self.cells)

    def analysed(self) -> list[Member]:
        """Return those that were analysed and are not left out."""
        return [each for each in self.members if each.cell and each.expected is not None]

    def counted(self, members: Sequence[Member], flagged: bool | None = None) -> Counted:
        """Return studies as figures take them.

        Parameters
        ----------
        flagged
            What is taken for the answer of the node on those that were not analysed.
        """
        numbers = {told.cell: number for number, told in enumerate(self.cells)}
        patients = {
            name: number for number, name in enumerate(sorted({_owner(each) for each in members}))
        }
        outcomes = [each.study.outcome.flagged if each.cell else bool(flagged) for each in members]
        return Counted(
            flagged=np.array(outcomes, bool),
            bleeds=np.array([each.expected for each in members], float),
            undecided=np.array([each.by == SAMPLE for each in members], bool),
            cell=np.array([numbers[each.cell] if each.cell else -1 for each in members], np.intp),
            patient=np.array([patients[_owner(each)] for each in members], np.intp),
            samples={
                number: (told.bleeding, told.decided)
                for number, told in enumerate(self.cells)
                if told.decided
            },
        )


def _owner(member: Member) -> str:
    """Return the patient of a study; without a pseudonym each study is a patient's own."""
    return member.study.outcome.patient or f"study {member.study.name}"


def reference(
    studies: Sequence[Study], decisions: Decisions, sample: Sample | None = None
) -> Reference:
    """Return what is known of each study.

    Parameters
    ----------
    sample
        None if it is not known which were drawn: then all that people decided are taken for it.
    """
    standing = decisions.standing()
    asked = {each.study for each in sample.asked} if sample else set(standing)
    truths = {
        study.name: settled(standing[study.name].values())
        for study in studies
        if study.name in standing and (study.name in asked or not study.outcome.analysed)
    }
    by_cell: dict[Cell, list[Study]] = {}
    for study in studies:
        if study.outcome.analysed:
            by_cell.setdefault(cell_of(study), []).append(study)
    cells = {cell: _told(cell, held, truths, asked) for cell, held in sorted(by_cell.items())}
    members = tuple(
        _member(study, cells, truths, tuple(standing.get(study.name, {}).values()))
        for study in studies
    )
    return Reference(members, tuple(cells.values()))


def reports_alone(studies: Sequence[Study]) -> Reference:
    """Return what is known by the labels of reports, as if nobody had decided anything."""
    return reference(studies, Decisions())


def _told(
    cell: Cell, held: Sequence[Study], truths: Mapping[str, bool | None], asked: set[str]
) -> CellTold:
    known = [truths[study.name] for study in held if truths.get(study.name) is not None]
    number = sum(study.name in asked for study in held)
    if known:
        return CellTold(cell, len(held), number, len(known), sum(map(bool, known)), PEOPLE)
    label = _LABELS.get(cell.says)
    if label is None:
        return CellTold(cell, len(held), number, 0, 0, "")
    return CellTold(cell, len(held), number, len(held), label * len(held), REPORT)


def _member(
    study: Study,
    cells: Mapping[Cell, CellTold],
    truths: Mapping[str, bool | None],
    answers: tuple[Decision, ...],
) -> Member:
    truth, label = truths.get(study.name), _LABELS.get(study.says)
    if not study.outcome.analysed:
        by = PEOPLE if truth is not None else REPORT if label is not None else ""
        truth = label if truth is None else truth
        return Member(study, None, answers, truth, by, _as_number(truth), 0.0)
    cell = cell_of(study)
    told = cells[cell]
    match told.by:
        case "report":
            return Member(study, cell, answers, label, REPORT, _as_number(label), 1.0)
        case "people" if truth is not None:
            return Member(study, cell, answers, truth, PEOPLE, _as_number(truth), told.weight)
        case "people":
            return Member(study, cell, answers, None, SAMPLE, told.share, 0.0)
    return Member(study, cell, answers, None, "", None, 0.0)


def _as_number(truth: bool | None) -> float | None:
    return None if truth is None else float(truth)
