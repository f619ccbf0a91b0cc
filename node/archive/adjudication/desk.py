"""One person at the desk: which study comes, what is shown of it, and what is written down."""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import combinations
from typing import Any
from uuid import uuid4

import numpy as np

from models.findings import SUBTYPES
from node.archive.adjudication.agreement import Kappa, kappa
from node.archive.adjudication.decisions import (
    Answer,
    Decision,
    Decisions,
    append,
    read_decisions,
)
from node.archive.adjudication.sample import Asked, Sample
from node.archive.evidence import Study
from node.archive.proof import Proof
from node.errors import Permanent

LONGEST_NOTE = 1000
"""Characters. Chosen."""
NAMES = re.compile(r"\w[\w .-]{0,39}")
"""Names of people: they stand in files and columns."""


class Desk:
    """What one person does; its methods may be called from several threads.

    Parameters
    ----------
    who
        The person; "" until `sit_down` tells.
    blind
        Whether node and report are hidden.
    """

    def __init__(
        self,
        proof: Proof,
        studies: Sequence[Study],
        sample: Sample,
        clock: Callable[[], datetime],
        *,
        who: str = "",
        blind: bool = False,
    ) -> None:
        self._proof, self._clock = proof, clock
        self._studies = {study.name: study for study in studies}
        self._sample = sample
        self._lock = threading.Lock()
        self.blind = blind
        self.who = ""
        self._asked: tuple[Asked, ...] = ()
        if who:
            self.sit_down(who)

    def sit_down(self, who: str) -> None:
        """Take who decides from now on. Each person has an order of their own.

        Raises
        ------
        Permanent
            If it is no name that a file can hold, or somebody sits there already.
        """
        if not NAMES.fullmatch(who):
            raise Permanent(
                f"{who!r} is no name: begin with a letter or digit, then letters, digits, spaces, "
                ". - _, 40 at most"
            )
        with self._lock:
            if self.who:
                raise Permanent(f"{self.who} decides here: start the command again for another")
            order = np.random.default_rng([self._sample.seed, *who.encode()])
            places = order.permutation(len(self._sample.asked))
            self._asked = tuple(
                each
                for each in (self._sample.asked[place] for place in places)
                if each.study in self._studies
            )
            self.who = who

    def __len__(self) -> int:
        """Return how many studies are asked about."""
        return len(self._asked)

    def study(self, place: int) -> Study:
        """Return the study at a place, from 0.

        Raises
        ------
        IndexError
            If there is none.
        """
        if not 0 <= place < len(self._asked):
            raise IndexError(place)
        return self._studies[self._asked[place].study]

    def facts(self, place: int) -> dict[str, Any]:
        """Return what is shown of a study: what this person said, and unless blinded all else.

        Why it is asked about is never shown, which would tell what node and report say.
        """
        study = self.study(place)
        mine = self._mine(read_decisions(self._proof.decisions)).get(study.name)
        told: dict[str, Any] = {
            "place": place,
            "study": study.name,
            "answer": mine.answer if mine else None,
            "subtypes": list(mine.subtypes) if mine else [],
            "note": mine.note if mine else "",
        }
        if not self.blind:
            outcome, label = study.outcome, study.label
            told["node"] = {
                "flagged": outcome.flagged,
                "probability": outcome.probability,
                "volume_ml": outcome.volume_ml,
                "remarks": [*outcome.limitations, *outcome.mimics],
            }
            told["report"] = {
                "says": study.says,
                "sentence": label.sentence if label else "",
                "rule": label.rule if label else "",
            }
        return told

    def decide(self, place: int, answer: str, subtypes: Sequence[str] = (), note: str = "") -> None:
        """Write down what this person says of a study.

        Raises
        ------
        Permanent
            If it is no answer, or the file cannot be written: nothing was decided then.
        """
        if answer not in tuple(Answer):
            raise Permanent(f"{answer!r} is no answer: {', '.join(Answer)}")
        if unknown := [name for name in subtypes if name not in SUBTYPES]:
            raise Permanent(f"{unknown[0]!r} is no subtype: {', '.join(SUBTYPES)}")
        named = tuple(subtypes) if answer == Answer.BLEEDS else ()
        self._append(self._asked[place], Answer(answer), named, note[:LONGEST_NOTE])

    def undo(self) -> int | None:
        """Take this person's last decision back; return its place, None if there is none."""
        with self._lock:
            decisions = read_decisions(self._proof.decisions)
            mine = self._mine(decisions)
            places = {each.study: place for place, each in enumerate(self._asked)}
            last = next(
                (
                    each
                    for each in reversed(decisions.lines)
                    if each.study in places and mine.get(each.study) is each
                ),
                None,
            )
        if last is None:
            return None
        place = places[last.study]
        self._append(self._asked[place], None, (), "", undoes=last.id)
        return place

    def progress(self) -> dict[str, Any]:
        """Return how far this person is, where to go on, and how people agree so far."""
        decisions = read_decisions(self._proof.decisions)
        mine = self._mine(decisions)
        open_ = [place for place, each in enumerate(self._asked) if each.study not in mine]
        return {
            "of": len(self._asked),
            "done": len(self._asked) - len(open_),
            "next": open_[0] if open_ else None,
            "open": open_,
            "kappa": [each.to_json() for each in kappas(decisions)],
        }

    def _mine(self, decisions: Decisions) -> Mapping[str, Decision]:
        """Return what this person said and stands, by study; what was taken back does not."""
        standing = decisions.standing()
        return {name: said[self.who] for name, said in standing.items() if self.who in said}

    def _append(
        self,
        asked: Asked,
        answer: Answer | None,
        subtypes: tuple[str, ...],
        note: str,
        undoes: str = "",
    ) -> None:
        decision = Decision(
            id=str(uuid4()),
            study=asked.study,
            who=self.who,
            at=self._clock().isoformat(timespec="seconds"),
            answer=answer,
            subtypes=subtypes,
            blinded=self.blind,
            note=note,
            asked_for=asked.asked_for,
            undoes=undoes,
        )
        with self._lock:
            append(self._proof.decisions, [decision])


def kappas(decisions: Decisions) -> list[Kappa]:
    """Return the agreement of each two people who decided the same studies."""
    standing = decisions.standing().values()
    found = []
    for first, second in combinations(decisions.people(), 2):
        pairs = [
            (str(one[first].answer), str(one[second].answer))
            for one in standing
            if first in one and second in one
        ]
        if pairs:
            found.append(kappa((first, second), pairs))
    return found
