"""From the rows of a table to one label for each accession number, and into a file."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.archive.labels.labeller import Label, Labeller
from node.archive.labels.phrases import fold
from node.archive.labels.reports_file import Row
from node.archive.tables import written_whole
from node.reported import Answer
from node.visible import visible

GIVEN = "given"
_SAID = {
    Answer.BLEEDS: "bleeds bleed 1 yes y true positive pos ja si hemorrhage haemorrhage ich "
    "blutung hemorragia",
    Answer.NONE: "none 0 no n false negative neg nein normal",
    Answer.CANNOT_TELL: "cannottell unknown uncertain unclear unklar incierto",
}
_MEANT = {word: answer for answer, words in _SAID.items() for word in words.split()}
"""What labels that were given mean, in small letters without accents, spaces and signs."""
_ROUNDED = re.compile(r"\d+([.,]\d+)?E\+\d+")
"""How a spreadsheet shows a long number: its last digits are lost."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Labelled:
    """One accession number and what its reports say."""

    accession: str
    label: Label
    patient: str
    lines: tuple[int, ...]
    """Where its rows begin in the table."""
    problem: str = ""
    """What a person should look at; "" if nothing."""


def label_rows(rows: Iterable[Row], labeller: Labeller, language: str = "") -> Iterator[Labelled]:
    """Yield one label for each accession number, in the order of the table.

    Of several different reports the last counts by its date. Where dates do not say which that is,
    and where two patients have one number, the answer is "cannot tell". A row without a number is
    kept as such.
    """
    by_accession: dict[str, list[Row]] = {}
    for row in rows:
        by_accession.setdefault(row.accession or f"\0{row.line}", []).append(row)
    for same in by_accession.values():
        yield _labelled(same, labeller, language)


def _labelled(rows: Sequence[Row], labeller: Labeller, language: str) -> Labelled:
    first, lines = rows[0], tuple(row.line for row in rows)
    problem = _problem(rows)
    row = None if problem else _last(rows)
    if row is None:
        problem = (
            problem or f"{len(rows)} different reports, and no dates that say which is the last"
        )
        label = Label(Answer.CANNOT_TELL, "", problem)
    else:
        label = _given(row) if row.given else labeller.label(row.text, language)
    return Labelled(first.accession, label, first.patient, lines, problem)


def _problem(rows: Sequence[Row]) -> str:
    """Return why no row of one accession number can be taken; "" if one can."""
    if not rows[0].accession:
        return "no accession number"
    if _ROUNDED.fullmatch(rows[0].accession):
        return "a spreadsheet rounded its accession number: export the column as text"
    if len({row.patient for row in rows if row.patient}) > 1:
        return "two patients have this accession number"
    if wrong := next((row.problem for row in rows if row.problem), ""):
        return wrong
    return "" if any(row.text or row.given for row in rows) else "no text"


def _last(rows: Sequence[Row]) -> Row | None:
    """Return the row that counts; None if that cannot be told."""
    useful = [row for row in rows if row.text or row.given]
    if len({_said(row) for row in useful}) > 1:
        dates = [row.date for row in useful if row.date]
        if len(dates) < len(useful):
            return None
        useful = [row for row in useful if row.date == max(dates)]
    return useful[0] if len({_said(row) for row in useful}) == 1 else None


def _said(row: Row) -> tuple[str, str]:
    return row.given, " ".join(row.text.split())


def _given(row: Row) -> Label:
    word = "".join(letter for letter in fold(row.given).lower() if letter.isalnum())
    answer = _MEANT.get(word)
    if answer is None:
        return Label(Answer.CANNOT_TELL, "", f'{GIVEN}, and not understood: "{row.given}"')
    return Label(answer, row.sentence, row.rule or GIVEN)


def write_labels(path: Path, labelled: Iterable[Labelled], *, with_patients: bool) -> None:
    """Write the labels as CSV, all of them or no file; with the mark by which Excel knows UTF-8.

    A cell that a spreadsheet would take for a formula gets an apostrophe before it (CWE-1236).

    Raises
    ------
    Permanent
        If the file cannot be written.
    """
    with written_whole(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        patient = ("patient",) if with_patients else ()
        writer.writerow(("accession", "label", "sentence", "rule", "language", *patient))
        writer.writerows(_cells(each, with_patients=with_patients) for each in labelled)


def _cells(each: Labelled, *, with_patients: bool) -> list[str]:
    label = each.label
    cells = [each.accession, label.answer.value, label.sentence, label.rule, label.language]
    return [_text(cell) for cell in (*cells, *((each.patient,) if with_patients else ()))]


def _text(cell: str) -> str:
    """Return a cell on one line that shows every character and that no spreadsheet computes."""
    line = " ".join(cell.split())
    return visible(f"'{line}" if line.startswith(_FORMULA) else line)
