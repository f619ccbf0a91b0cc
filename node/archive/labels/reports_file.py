"""The rows of a table of reports: CSV from any export."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from node.archive.labels.columns import Columns, columns_of, known_names
from node.archive.labels.encodings import decoded
from node.errors import Permanent

DELIMITERS = ",;\t|"
LONGEST_CELL = 1 << 24
"""Characters; a longer one is a quotation mark that is missing. Chosen."""
_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?\r?\n')
_DIGITS = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?(?:\.\d+)?")
_DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:,?\s+(\d{1,2}):(\d\d)(?::(\d\d))?)?")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a report, or a label that was given."""

    line: int
    """Where it begins in the file, from 1."""
    accession: str
    text: str = ""
    given: str = ""
    """The label that the table gives, "" if it gives none."""
    sentence: str = ""
    rule: str = ""
    """Why that label was given, in a table that `write_labels` wrote."""
    patient: str = ""
    date: datetime | None = None
    """In UTC, as if written so where no zone is said; None if there is none that can be read."""
    problem: str = ""
    """What is wrong with the row, so that its text cannot be relied on."""


@dataclass(frozen=True, slots=True)
class Reports:
    """A table that was read."""

    rows: tuple[Row, ...]
    has_patients: bool
    encoding: str


def read_reports(data: bytes, name: str, said: Mapping[str, str] | None = None) -> Reports:
    """Read a table of reports.

    Parameters
    ----------
    data
        The file: UTF-8, UTF-16 or Windows-1252; comma, semicolon, tab or | between the cells.
    name
        Its name, for messages.
    said
        Names of columns by what they hold, where the table has others than `columns.NAMES`.

    Raises
    ------
    Permanent
        If it is empty, is no CSV, or lacks a column.
    """
    text, encoding = decoded(data, name)
    if not text.strip("\ufeff\x00 \r\n\t"):
        raise Permanent(f"{name} is empty")
    csv.field_size_limit(LONGEST_CELL)
    declared = _SEPARATOR_LINE.match(text)
    text = text[declared.end() :] if declared else text
    delimiter = declared[1] if declared else _delimiter(text, said or {}, name)
    records = _records(text, delimiter, name, 2 if declared else 1)
    columns = columns_of(next(records)[1], said or {}, name)
    rows = tuple(_row(line, cells, columns) for line, cells in records)
    if not rows:
        raise Permanent(f"{name} has a header and no row")
    return Reports(rows, columns.patient is not None, encoding)


def _delimiter(text: str, said: Mapping[str, str], name: str) -> str:
    """Return the delimiter that makes most known names of the header."""

    def known(delimiter: str) -> tuple[int, int]:
        try:
            header = next(_records(text, delimiter, name, 1))[1]
        except Permanent:
            return 0, 0
        return known_names(header, said), len(header)

    return max(DELIMITERS, key=known)


def _records(text: str, delimiter: str, name: str, first: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each record begins, and its cells; blank ones are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = first
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                yield line, cells
            line = reader.line_num + first
    except csv.Error as error:
        raise Permanent(
            f"{name}, line {line}: its quotation marks do not match ({error}); nothing was labelled"
        ) from error


def _row(line: int, cells: Sequence[str], columns: Columns) -> Row:
    def cell(number: int | None) -> str:
        return cells[number].strip() if number is not None and number < len(cells) else ""

    parts = [f"{name.strip()}:\n{cell(number)}" for name, number in columns.parts if cell(number)]
    extra = [each for each in cells[columns.width :] if each.strip()]
    return Row(
        line=line,
        accession=_name(cell(columns.accession)),
        text="\n\n".join(filter(None, (cell(columns.text), *parts))),
        given=cell(columns.label),
        sentence=_name(cell(columns.sentence)),
        rule=_name(cell(columns.rule)),
        patient=_name(cell(columns.patient)),
        date=moment(cell(columns.date)),
        problem="it has more cells than the header" if extra else "",
    )


def _name(cell: str) -> str:
    """Return a number or name without the apostrophe that keeps a spreadsheet from computing it."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in ("=", "+", "-", "@") else cell


def moment(text: str) -> datetime | None:
    """Return a date, with its time if it has one.

    ISO 8601, DICOM and HL7 (20250131, 20250131093000) and 31.01.2025 are read. 01/02/2025 is not:
    it is another day in another country.
    """
    text = text.strip()
    if found := _DIGITS.fullmatch(text):
        return _moment(*found.groups())
    if found := _DAY_FIRST.fullmatch(text):
        day, month, year, *time = found.groups()
        return _moment(year, month, day, *time)
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)


def _moment(*numbers: str | None) -> datetime | None:
    year, month, day, hour, minute, second = (int(each or 0) for each in numbers)
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
