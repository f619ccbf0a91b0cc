"""`ichnode archive label`: which examinations of an archive bled, as their reports say it."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.commands.invocation import one_line_errors
from node.cli.console.terminal import say

if TYPE_CHECKING:
    from node.archive.labels import Labelled

MOST_NAMED = 10
"""So many rows that need a person are named one by one; the file has all of them. Chosen."""


def label(
    reports: Annotated[Path, typer.Argument(metavar="REPORTS.csv", help="Table of reports.")],
    out: Annotated[Path, typer.Option(metavar="LABELS.csv", help="CSV file to write.")],
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT=NAME",
            help="Name of a column, where it is not found by itself; WHAT is accession, text, "
            "label, patient or date; repeatable.",
        ),
    ] = None,
    language: Annotated[
        str, typer.Option(help="Language of all reports; else each one's is told by its words.")
    ] = "",
    words: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="More words of a language, in TOML; repeatable."),
    ] = None,
) -> None:
    """Label head CTs by their reports: bleeds, none or cannot tell, with the sentence that decided.

    REPORTS.csv has a line of names, and a row for each report: its accession number, its text in
    one column or one for each section, and patient and date where you have them. A column "label"
    is taken as it is. LABELS.csv has a row for each accession number, with the rule and the words
    it rests on: look through it before you rely on it. docs/archive.md says what it is mistaken in.

        ichnode archive label reports.csv --out proof/secret/labels.csv

        ichnode archive label befunde.csv --out proof/secret/labels.csv --column accession=Auftrag

    Status 1 if a row needs a person: no accession number, no text, or reports that contradict.
    """
    from node.archive.labels import Labeller, label_rows, read_reports, vocabularies, write_labels
    from node.errors import BadConfiguration, Permanent

    os.umask(0o077)  # sentences of reports are their reader's alone
    with one_line_errors():
        known = vocabularies(words or ())
        if language and language not in known:
            raise BadConfiguration(f"no language {language!r}: {', '.join(known)}")
        try:
            data = reports.read_bytes()
            if out.exists() and out.samefile(reports):
                raise BadConfiguration(f"{out} is the table of reports itself")
        except OSError as error:
            raise Permanent(f"{reports} cannot be read: {error.strerror}") from error
        table = read_reports(data, reports.name, _said(column or ()))
        labelled = list(label_rows(table.rows, Labeller(known), language))
        write_labels(out, labelled, with_patients=table.has_patients)
        _summarise(labelled, len(table.rows), table.encoding, out)


def _said(columns: Sequence[str]) -> dict[str, str]:
    from node.errors import BadConfiguration

    pairs = [each.partition("=") for each in columns]
    if wrong := next((what for what, sign, name in pairs if not (sign and name)), None):
        raise BadConfiguration(f"--column {wrong}: say WHAT=NAME, as in accession=Auftrag")
    return {what.strip(): name.strip() for what, _, name in pairs}


def _summarise(labelled: "Sequence[Labelled]", rows: int, encoding: str, out: Path) -> None:
    """Print what became of the table, and name the rows that a person must look at."""
    counts = Counter(each.label.answer.value for each in labelled)
    parts = ", ".join(f"{counts[answer]} {answer}" for answer in ("bleeds", "none", "cannot tell"))
    say(f"{rows} rows in {encoding}, {len(labelled)} accession numbers: {parts}: {out}")
    wrong = [each for each in labelled if each.problem]
    for each in wrong[:MOST_NAMED]:
        lines = ", ".join(map(str, each.lines))
        say(f"line {lines}: {each.problem}", err=True, fault=True)
    if len(wrong) > MOST_NAMED:
        say(f"and {len(wrong) - MOST_NAMED} more, all in {out}", err=True, fault=True)
    if wrong:
        raise typer.Exit(1)
