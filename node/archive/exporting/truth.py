"""Which studies are handed on, and the table of what is known of them."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from node.archive.adjudication import Decision, read_decisions, settled
from node.archive.evidence import Outcome, read_outcomes
from node.archive.proof import Proof
from node.archive.tables import written_whole
from node.errors import Permanent

COLUMNS = (
    *("study", "bleeds", "subtypes", "people", "result", "probability", "operating_point"),
    *("bundle", "bundle_version", "thickness_mm", "age_band", "sex", "images", "why_not"),
)


@dataclass(frozen=True, slots=True)
class Known:
    """A study that people settled.

    Attributes
    ----------
    outcome
        What the node said.
    bleeds
        What more people said.
    answers
        Of each person.
    """

    outcome: Outcome
    bleeds: bool
    answers: tuple[Decision, ...]


def settled_studies(proof: Proof) -> dict[str, Known]:
    """Return the studies that people settled, by pseudonym and in its order.

    Raises
    ------
    Permanent
        If there is none, or a file of the proof cannot be read.
    """
    standing = read_decisions(proof.decisions).standing()
    outcomes = read_outcomes(proof)
    found = {}
    for name in sorted(standing.keys() & outcomes.keys()):
        answers = tuple(standing[name].values())
        bleeds = settled(answers)
        if bleeds is not None:
            found[name] = Known(outcomes[name], bleeds, answers)
    if not found:
        raise Permanent(
            f"{proof.decisions} settles no study: ichnode archive adjudicate asks people"
        )
    return found


def write_truth(file: Path, rows: Iterable[tuple[Known, int, str]]) -> None:
    """Write the table, whole or not at all.

    Who decided and what they noted is left out: both may name people. So is the scanner, whose name
    holds a pseudonym of its station; the images say manufacturer and model.

    Parameters
    ----------
    rows
        What is known of each study, how many images of it there are, and why there are none.

    Raises
    ------
    Permanent
        If it cannot be written.
    """
    with written_whole(file) as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_cells(*row) for row in rows)


def _cells(known: Known, images: int, why_not: str) -> tuple[object, ...]:
    said = known.outcome
    named = sorted({name for each in known.answers for name in each.subtypes})
    return (
        *(said.study, int(known.bleeds), " ".join(named), len(known.answers), said.result),
        *("" if said.probability is None else f"{said.probability:.4f}", said.operating_point),
        *(said.bundle, said.bundle_version, said.thickness_mm or "", said.age_band, said.sex),
        *(images, "" if images else why_not),
    )
