"""The review's CSV files: results in, blind worklists out, the readers' readings back in.

Read as people's spreadsheets leave them: UTF-8 with or without a mark, UTF-16 or Windows-1252;
commas, semicolons or tabs; a decimal comma; empty lines. What a cell means is never guessed.
"""

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.findings import SUBTYPES

LABELS = ("any", *SUBTYPES)
"""What a reading names, in the order of every tuple of labels here."""

UIDS = ("StudyInstanceUID", "SeriesInstanceUID")

DIFFICULT_FOR = ("ai", "humans", "reader")
"""The AI, annotators who were not unanimous, and a reader who disagreed at work."""

MISTAKES = {"MISSED": True, "FALSE_ALARM": False}
"""In which way a reader disagreed, and whether the case then bleeds."""

CONFIDENCE = (1, 5)
"""From a guess to certain; ours (Kang 2023 asks for none)."""

Labels = tuple[bool | None, ...]

_WORDS = {
    **dict.fromkeys(("1", "yes", "true"), True),
    **dict.fromkeys(("0", "no", "false"), False),
    "": None,
}


class ReviewError(ValueError):
    """What of the review cannot go on; the message names file, line and column where it can."""


@dataclass(frozen=True, slots=True)
class Result:
    """One case: what the AI said and what holds for the truth.

    Attributes
    ----------
    case
        Its name, unique within a review.
    labels
        Truth of each of `LABELS`; `any` is known, a subtype may be None (not labelled).
    probability
        The AI's, 0..1; None where it did not analyse the case, which is no negative.
    uids
        `UIDS`, empty where not given.
    votes
        What each annotator who voted said when the truth was made.
    difficult
        For whom, of `DIFFICULT_FOR`; empty before the selection and for the easy ones.
    mistake
        In which way a reader disagreed with the AI at work, of `MISTAKES`; empty if none did.
    """

    case: str
    labels: Labels
    probability: float | None
    uids: tuple[str, ...] = ("", "")
    votes: tuple[bool, ...] = ()
    difficult: tuple[str, ...] = ()
    mistake: str = ""

    @property
    def truth(self) -> bool:
        """Whether the case bleeds, as far as is known."""
        return bool(self.labels[0])


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reader said about one case.

    Attributes
    ----------
    labels
        Each of `LABELS`; None where it was not read. All subtypes are False where `any` is.
    confidence
        In `CONFIDENCE`, None where not given.
    remark
        In the reader's words.
    """

    labels: Labels
    confidence: float | None = None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reader's disagreement with the AI at work; it names neither reader nor patient.

    Attributes
    ----------
    uids
        `UIDS`.
    mistake
        Of `MISTAKES`.
    """

    case: str
    uids: tuple[str, str]
    probability: float | None
    mistake: str
    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a CSV file; a column is found whatever its capitals and underscores."""

    file: str
    line: int
    cells: Mapping[str, str]

    def text(self, column: str) -> str:
        return self.cells.get(_key(column), "")

    def flag(self, column: str) -> bool | None:
        """Return what the cell says; None where it is blank or there is no such column."""
        word = self.text(column).lower()
        if word not in _WORDS:
            raise self.error(column, "is neither 1, 0, yes, no, true, false nor blank")
        return _WORDS[word]

    def number(self, column: str, low: float, high: float) -> float | None:
        """Return the cell's number; None where it is blank or there is no such column."""
        if not self.text(column):
            return None
        try:
            value = float(self.text(column).replace(",", "."))
        except ValueError:
            raise self.error(column, "is no number") from None
        if not low <= value <= high:
            raise self.error(column, f"is not within {low} to {high}")
        return value

    def error(self, column: str, problem: str) -> ReviewError:
        where = f"{self.file}, line {self.line}, column {column}"
        return ReviewError(f"{where}: {self.text(column)!r} {problem}")


def read_results(path: Path, annotators: Sequence[str] = ()) -> list[Result]:
    """Read the AI's results.

    Parameters
    ----------
    path
        CSV with the columns case, probability and truth; `UIDS` and subtypes where it has them.
    annotators
        Columns of the annotators' votes; a blank cell is no vote.

    Raises
    ------
    ReviewError
        If a column, a name or a truth is missing, a case comes twice, or a cell says nothing known.
    """
    rows = _rows(path, ("case", "probability", "truth", *annotators))
    return [_result(row, annotators) for row in _unique(rows)]


def _result(row: _Row, annotators: Sequence[str]) -> Result:
    truth = row.flag("truth")
    if truth is None:
        raise row.error("truth", "is blank: a case without a truth cannot be difficult")
    difficult = tuple(row.text("difficult").split())
    if not set(difficult) <= set(DIFFICULT_FOR):
        raise row.error("difficult", f"is not of {', '.join(DIFFICULT_FOR)}")
    mistake = row.text("mistake").upper()
    if mistake not in ("", *MISTAKES):
        raise row.error("mistake", f"is neither {' nor '.join(MISTAKES)} nor blank")
    votes = (row.flag(name) for name in annotators)
    return Result(
        case=row.text("case"),
        labels=(truth, *(row.flag(subtype) for subtype in SUBTYPES)),
        probability=row.number("probability", 0, 1),
        uids=tuple(row.text(uid) for uid in UIDS),
        votes=tuple(vote for vote in votes if vote is not None),
        difficult=difficult,
        mistake=mistake,
    )


def write_doubts(path: Path, doubts: Iterable[Doubt]) -> None:
    """Write readers' disagreements, so that `read_results` takes them as results.

    The truth is what the reader says. Words that a spreadsheet would take for a formula get an
    apostrophe before them.
    """
    rows = (
        (
            each.case,
            "" if each.probability is None else repr(each.probability),
            _word(MISTAKES[each.mistake]),
            *each.uids,
            each.mistake,
            *(_no_formula(text) for text in (each.place, each.reason)),
        )
        for each in doubts
    )
    header = ("case", "probability", "truth", *UIDS, "mistake", "place", "reason")
    _write(path, header, rows)


def _no_formula(text: str) -> str:
    """Return a text on one line that a spreadsheet takes for text (CWE-1236)."""
    line = " ".join(text.split())
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line


def write_cases(path: Path, cases: Iterable[Result]) -> None:
    """Write all cases with truth and selection: `read_results` reads them again, votes apart."""
    rows = (
        (
            *(each.case, _word(each.truth)),
            "" if each.probability is None else repr(each.probability),
            *(*each.uids, *map(_word, each.labels[1:]), " ".join(each.difficult), each.mistake),
        )
        for each in cases
    )
    _write(path, ("case", "truth", "probability", *UIDS, *SUBTYPES, "difficult", "mistake"), rows)


def write_worklists(
    folder: Path, cases: Sequence[Result], readers: Sequence[str], seed: int, separator: str
) -> None:
    """Write a blind worklist READER.csv for each reader.

    It names the cases and their UIDs, and leaves the rest to fill in. Cases that a reader disagreed
    about at work stand first, missed ones and false alarms mixed. Otherwise its order depends on
    the cases' names, the reader's name and the seed alone, so that it tells nothing of truth or AI.

    Raises
    ------
    ReviewError
        If the folder is there already (it may hold readings), or a reader's name makes no file.
    """
    for name in readers:
        if not re.fullmatch(r"\w[\w.-]*", name) or readers.count(name) > 1:
            raise ReviewError(f"reader {name!r}: letters, digits, . - _ only, and each name once")
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise ReviewError(f"{folder} may hold readings: choose another folder") from error
    known = [i for i in range(len(UIDS)) if any(each.uids[i] for each in cases)]
    header = ("case", *(UIDS[i] for i in known), *LABELS, "confidence", "remark")
    blank = [""] * (len(LABELS) + 2)
    by_name = sorted(cases, key=lambda each: each.case)
    for reader in readers:
        order = np.random.default_rng([seed, *reader.encode()]).permutation(len(by_name))
        mixed = sorted((by_name[i] for i in order), key=lambda each: not each.mistake)
        rows = ((each.case, *(each.uids[uid] for uid in known), *blank) for each in mixed)
        _write(folder / f"{reader}.csv", header, rows, separator)


def read_readings(path: Path, cases: Collection[str]) -> dict[str, Reading]:
    """Read what one reader filled in, by case; a case without a line is not in it.

    Raises
    ------
    ReviewError
        If a cell says nothing known, a line contradicts itself, a case comes twice or is not one
        of `cases`.
    """
    readings = {}
    for row in _unique(_rows(path, ("case", "any"))):
        if row.text("case") not in cases:
            raise row.error(
                "case", "is no case of this review (a spreadsheet may have dropped leading zeros)"
            )
        readings[row.text("case")] = _reading(row)
    return readings


def _reading(row: _Row) -> Reading:
    bleeds, *subtypes = (row.flag(label) for label in LABELS)
    if not bleeds and True in subtypes:
        named = SUBTYPES[subtypes.index(True)]
        raise row.error("any", f"contradicts {named}: a subtype is named, so any must be 1")
    return Reading(
        labels=(bleeds, *((False,) * len(SUBTYPES) if bleeds is False else subtypes)),
        confidence=row.number("confidence", *CONFIDENCE),
        remark=row.text("remark"),
    )


def write_labels(path: Path, cases: Iterable[Result], revised: Collection[str]) -> None:
    """Write the labels of all cases for training: 1, 0, or blank for not labelled.

    The last column says which labels the readers' consensus gave.
    """
    rows = (
        (
            *(each.case, *each.uids, *map(_word, each.labels)),
            "consensus" if each.case in revised else "truth",
        )
        for each in cases
    )
    _write(path, ("case", *UIDS, *LABELS, "label_source"), rows)


def _word(label: bool | None) -> str:
    return "" if label is None else str(int(label))


def _write(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[str]], separator: str = ","
) -> None:
    """Write a CSV with the byte order mark by which Excel knows UTF-8."""
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(header)
        writer.writerows(rows)


def _rows(path: Path, required: Iterable[str]) -> Iterator[_Row]:
    """Yield the lines that hold anything, numbered as an editor numbers them."""
    lines = io.StringIO(_decoded(path), newline="").readlines()
    declared = re.fullmatch(r"sep=(.)\s*", lines[0]) if lines else None
    skipped = 1 if declared else 0
    header = lines[skipped] if len(lines) > skipped else ""
    separator = declared[1] if declared else max(",;\t", key=header.count)
    reader = csv.reader(lines[skipped:], delimiter=separator, strict=True)
    columns = [_key(name) for name in next(reader, [])]
    for name in required:
        if columns.count(_key(name)) != 1:
            count = "more than one" if _key(name) in columns else "no"
            raise ReviewError(f"{path.name}: {count} column {name!r} in {header.strip()!r}")
    while True:
        line = skipped + reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise ReviewError(f"{path.name}, line {line}: {error}") from error
        if any(cells[len(columns) :]):
            raise ReviewError(
                f"{path.name}, line {line}: more cells than columns; "
                f"a text that holds {separator!r} needs quotation marks"
            )
        if any(cells):
            yield _Row(path.name, line, dict(zip(columns, cells, strict=False)))


def _unique(rows: Iterable[_Row]) -> Iterator[_Row]:
    """Pass rows on; a case without a name or with two lines is an error."""
    first: dict[str, int] = {}
    for row in rows:
        case = row.text("case")
        if not case:
            raise row.error("case", "is blank")
        if case in first:
            raise row.error("case", f"stands on line {first[case]} already")
        first[case] = row.line
        yield row


def _decoded(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReviewError(f"{path}: {error.strerror}") from error
    if content.startswith(b"PK"):
        raise ReviewError(f"{path.name} is a workbook: save it as CSV")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _key(column: str) -> str:
    return column.strip().lower().replace("_", "")
