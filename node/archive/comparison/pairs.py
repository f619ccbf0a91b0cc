"""Each study with what either bundle said of it, and what it was in truth.

Studies fall into cells by what both bundles said and what the report says. A sample that people
were asked about by one bundle's answers is a random part of each such cell, too, so that the share
of bleeds in it stands for the cell's others (Begg and Greenes; for two tests Zhou, Stat Med
1998;17:1995). Where both proofs are adjudicated, people were asked about every study that one
bundle flags and the other does not: one answer disagrees with the report, or no report confirms it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from node.archive.acceptance import Counted, Member, Reference, reference_standard
from node.archive.adjudication import Cell
from node.archive.comparison.paired import Answers
from node.archive.comparison.sides import Sides
from node.archive.evidence import Outcome, Study
from node.wording import Flip, flip


@dataclass(frozen=True, slots=True)
class Pair:
    """One study that both have read.

    Attributes
    ----------
    member
        The old outcome, and what is known of the study.
    """

    member: Member
    new: Outcome

    @property
    def old(self) -> Outcome:
        """The old outcome."""
        return self.member.study.outcome

    @property
    def analysed(self) -> bool:
        """Whether both bundles said whether it bleeds."""
        return self.old.analysed and self.new.analysed

    @property
    def counts(self) -> bool:
        """Whether it is in the figures: both said whether it bleeds, and the truth is known."""
        return self.analysed and self.member.expected is not None

    @property
    def flip(self) -> Flip | None:
        """How the answer changed; None if it did not."""
        return flip(self.old, self.new)

    @property
    def bleeds(self) -> bool:
        """Whether it bleeds by people, else by its report: an open question goes to the report."""
        truth = self.member.truth
        return self.member.study.says == "bleeds" if truth is None else truth

    @property
    def lost(self) -> bool:
        """Whether it is a bleed that was flagged, and no longer is."""
        return self.bleeds and self.old.flagged and not self.new.flagged

    @property
    def gained(self) -> bool:
        """Whether it is a bleed that was not flagged, and now is."""
        return self.bleeds and not self.old.flagged and self.new.flagged


@dataclass(frozen=True, slots=True)
class Pairs:
    """All studies that both have read, in the order of their pseudonyms.

    Attributes
    ----------
    known
        What is known of them, by the new answer: flagged, not flagged, None for not analysed.
    """

    all: tuple[Pair, ...]
    known: Mapping[bool | None, Reference]

    def answers(self, pairs: Sequence[Pair]) -> Answers:
        """Return these pairs, which count, as figures take them."""
        cells = [
            ((answer, told.cell), told)
            for answer, known in self.known.items()
            for told in known.cells
        ]
        numbers: dict[tuple[bool | None, Cell | None], int] = {
            name: number for number, (name, _) in enumerate(cells)
        }
        owners = [each.old.patient or f"study {each.old.study}" for each in pairs]
        old = Counted(
            flagged=np.array([each.old.flagged for each in pairs], bool),
            bleeds=np.array([each.member.expected for each in pairs], float),
            undecided=np.array([each.member.truth is None for each in pairs], bool),
            cell=np.array([numbers[each.new.flagged, each.member.cell] for each in pairs], np.intp),
            patient=np.unique(np.array(owners, str), return_inverse=True)[1].astype(np.intp),
            samples={
                number: (told.bleeding, told.decided)
                for number, (_, told) in enumerate(cells)
                if told.decided
            },
        )
        return Answers(old, np.array([each.new.flagged for each in pairs], bool))


def paired(sides: Sides) -> Pairs:
    """Return the studies that both have read."""
    groups: dict[bool | None, list[Study]] = {}
    for study in sides.studies:
        new = sides.new.outcomes[study.name]
        groups.setdefault(new.flagged if new.analysed else None, []).append(study)
    known = {answer: reference_standard(held, sides.decisions) for answer, held in groups.items()}
    pairs = [
        Pair(member, sides.new.outcomes[member.study.name])
        for each in known.values()
        for member in each.members
    ]
    return Pairs(tuple(sorted(pairs, key=lambda pair: pair.old.study)), known)
