"""What was decided, as `ichnode review select` takes it: difficult cases for a panel of readers."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from models.findings import SUBTYPES
from node.archive.adjudication.decisions import Answer, Decision, Decisions, settled
from node.archive.evidence import Study
from node.archive.tables import written_whole
from node.errors import Permanent

_VOTES = {Answer.BLEEDS: "1", Answer.NONE: "0"}


def write_feeds(file: Path, studies: Sequence[Study], decisions: Decisions) -> int:
    """Write the studies that people settled, whole or no file; return how many.

    One line a study: case (its pseudonym), probability, truth, the subtypes, mistake (MISSED or
    FALSE_ALARM where the node was wrong), and a column of votes for each person, "1", "0" or blank.
    Notes stay here: they may hold names.

    Raises
    ------
    Permanent
        If the file cannot be written, or nothing is settled.
    """
    standing, people = decisions.standing(), decisions.people()
    lines = list(_lines(studies, standing, people))
    if not lines:
        raise Permanent("no study is settled yet: nothing to write for `ichnode review select`")
    with written_whole(file) as opened:
        writer = csv.writer(opened)
        writer.writerow(("case", "probability", "truth", *SUBTYPES, "mistake", *people))
        writer.writerows(lines)
    return len(lines)


def _lines(
    studies: Sequence[Study],
    standing: Mapping[str, Mapping[str, Decision]],
    people: Sequence[str],
) -> Iterator[tuple[str, ...]]:
    for study in studies:
        by_person = standing.get(study.name, {})
        truth = settled(by_person.values())
        if truth is None:
            continue
        named = {name for each in by_person.values() for name in each.subtypes}
        known = bool(named) or not truth
        subtypes = (str(int(name in named and truth)) if known else "" for name in SUBTYPES)
        probability = study.outcome.probability
        yield (
            study.name,
            "" if probability is None else repr(probability),
            str(int(truth)),
            *subtypes,
            _mistake(study, truth),
            *(_vote(by_person.get(who)) for who in people),
        )


def _mistake(study: Study, truth: bool) -> str:
    if not study.outcome.analysed or study.outcome.flagged == truth:
        return ""
    return "MISSED" if truth else "FALSE_ALARM"


def _vote(decision: Decision | None) -> str:
    return _VOTES.get(decision.answer, "") if decision and decision.answer else ""
