"""Tables that a department brings and gets: CSV files with named columns."""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import TextIO, TypeVar

from node.errors import BadConfiguration, Permanent

Value = TypeVar("Value")


def rows(file: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Return each row's line in the file and its values in these columns, stripped.

    The separator is a comma or, where the header has one, a semicolon. Other columns are left out.

    Raises
    ------
    BadConfiguration
        If the file cannot be read, or lacks a column, a value or any row.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            header = opened.readline()
            opened.seek(0)
            table = csv.DictReader(opened, delimiter=";" if ";" in header else ",")
            missing = [name for name in columns if name not in (table.fieldnames or ())]
            if missing:
                raise BadConfiguration(f"{file}: no column {missing[0]!r} in the first line")
            found = [
                (table.line_num, {name: (row[name] or "").strip() for name in columns})
                for row in table
            ]
    except UnicodeError as error:
        raise BadConfiguration(f"{file} is no UTF-8: save it as CSV in UTF-8") from error
    except (OSError, csv.Error) as error:
        raise BadConfiguration(f"{file}: {error}") from error
    if not found:
        raise BadConfiguration(f"{file}: no row under the first line")
    for line, values in found:
        for name, value in values.items():
            if not value:
                raise BadConfiguration(f"{file}, line {line}: no {name}")
    return found


def column(file: Path, name: str, read: Callable[[str], Value]) -> list[Value]:
    """Return the values of one column, in the order of the file.

    Raises
    ------
    BadConfiguration
        As of `rows`, and if a value cannot be read.
    """
    return [cell(file, line, values[name], read) for line, values in rows(file, [name])]


def cell(file: Path, line: int, text: str, read: Callable[[str], Value]) -> Value:
    """Return what a cell says.

    Raises
    ------
    BadConfiguration
        If `read` raises `ValueError`; the message names the line.
    """
    try:
        return read(text)
    except ValueError as error:
        raise BadConfiguration(f"{file}, line {line}: {error}") from error


def moment(text: str) -> datetime:
    """Return a time, ISO 8601, as it is written; without a zone it is the department's own.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time as in 2026-11-30T08:15:00") from error


def number(text: str) -> float:
    """Return a finite number.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no number") from error
    if not isfinite(value):
        raise ValueError(f"{text!r} is no finite number")
    return value


@contextmanager
def written_whole(path: Path) -> Iterator[TextIO]:
    """Yield a file to write rows to, which takes its place when it is whole, or not at all.

    It begins with the mark by which Excel knows UTF-8.

    Raises
    ------
    Permanent
        If it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8-sig", newline="") as file:
            yield file
        unfinished.replace(path)
    except OSError as error:
        raise Permanent(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()
