"""What the review found, for people (Markdown, terminal) and for programs (JSON)."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

from rich import box, table
from rich.console import RenderableType
from rich.text import Text

from training.metrics.tables import grid
from training.review.readings import LABELS, Labels, Reading, Result
from training.review.revision import Measured, Verdict
from training.review.rules import (
    PAPER_KAPPA,
    Agreement,
    Performance,
    Proportion,
    Readings,
    figure,
)

CAVEAT = (
    "A case on which the AI was sure and agreed with the truth was not looked at again unless the "
    "annotators disagreed, so the figures afterwards flatter the AI."
)


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text under their headings."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Return it with its title as a heading."""
        header, *rows = ([*map(_cell, row)] for row in (self.header, *self.rows))
        return f"## {self.title}\n\n{grid(header, rows)}"

    def for_terminal(self) -> table.Table:
        """Return it for a rich console; cells are no markup."""
        shown = table.Table(title=self.title, title_justify="left", box=box.SIMPLE)
        for name in self.header:
            shown.add_column(name)
        for row in self.rows:
            shown.add_row(*map(Text, row))
        return shown


@dataclass(frozen=True, slots=True)
class Report:
    """A title, sentences, tables, and the same as a JSON object."""

    title: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]
    data: Mapping[str, object]

    def save(self, path: Path) -> None:
        """Write `path` with the suffixes .md (tables without a row left out) and .json."""
        bullets = "\n".join(f"- {sentence}" for sentence in self.sentences)
        parts = [
            f"# {self.title}",
            bullets,
            *(each.markdown() for each in self.tables if each.rows),
        ]
        path.with_suffix(".md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        path.with_suffix(".json").write_text(
            json.dumps(_plain(self.data), indent=1) + "\n", encoding="utf-8"
        )

    def for_terminal(self) -> list[RenderableType]:
        """Return it for a rich console, tables without a row left out."""
        tables = (each.for_terminal() for each in self.tables if each.rows)
        return [Text(self.title, "bold"), *map(Text, self.sentences), *tables]


def score_report(difficult: Sequence[Result], found: Agreement, threshold: float) -> Report:
    """Report on each reader, the AI, and how far the readers agree."""
    bleeding = sum(each.truth for each in difficult)
    return Report(
        "Difficult-case review: readers and AI",
        (
            "Research use only.",
            f"{len(difficult)} difficult cases, {bleeding} of them bleeding by the truth; "
            f"the AI calls a case bleeding from {threshold} on.",
            f"Fleiss' kappa {figure(found.kappa, found.kappa_interval)} over the "
            f"{found.kappa_cases} cases that all {len(found.comparisons)} readers read "
            f"(Kang 2023, six experts on its own cases: {PAPER_KAPPA}).",
            *(_unread(each, len(difficult)) for each in found.performances if each.unread),
            *(f"{reader} read nothing and is left out." for reader in found.absent),
        ),
        (
            Table(
                "Against the truth (95 % Wilson intervals)",
                ("reader", "accuracy", "sensitivity", "specificity"),
                tuple(_row(each.reader, each) for each in found.performances),
            ),
            Table(
                "The AI against each reader (McNemar)",
                ("reader", "both read", "AI alone right", "reader alone right", "p", "p (Holm)"),
                tuple(
                    (
                        *(each.reader, str(each.cases), str(each.ai_alone)),
                        *(str(each.reader_alone), _p(each.p), _p(each.p_holm)),
                    )
                    for each in found.comparisons
                ),
            ),
        ),
        {
            "difficult_cases": len(difficult),
            "bleeding": bleeding,
            "threshold": threshold,
            "kappa_of_kang_2023": PAPER_KAPPA,
            "agreement": found,
        },
    )


def _unread(each: Performance, cases: int) -> str:
    names = ", ".join(each.unread)
    return f"{each.reader} did not read {len(each.unread)} of {cases}, not counted: {names}."


def _p(value: float) -> str:
    if math.isnan(value):
        return "n/a"
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _row(name: str, each: Performance) -> tuple[str, ...]:
    return name, str(each.accuracy), str(each.sensitivity), str(each.specificity)


def revision_report(
    verdicts: Sequence[Verdict],
    readings: Readings,
    measured: Mapping[str, tuple[Measured, Measured]],
) -> Report:
    """Report on the truths that the panel revised, and on the AI before and after.

    Parameters
    ----------
    measured
        The AI before and after, by the name of the set of cases.
    """
    panel, needed = verdicts[0].panel, verdicts[0].needed
    revised = [each for each in verdicts if each.revised]
    undecided = [each for each in verdicts if each.undecided]
    before_after = [
        (f"{name}, {when}", each)
        for name, pair in measured.items()
        for when, each in zip(("before", "after"), pair, strict=True)
    ]
    return Report(
        "Difficult-case review: consensus",
        (
            "Research use only.",
            f"{needed} of {panel} readers can revise a truth (Kang 2023: 4 of 6).",
            f"{len(revised)} of {len(verdicts)} truths revised, {len(undecided)} cases undecided "
            "(their truth stays).",
            CAVEAT,
        ),
        (
            _verdict_table("Revised truths", revised, readings),
            _verdict_table("Undecided", undecided, readings),
            Table(
                "The AI before and after (95 % intervals: Wilson; AUC: DeLong)",
                ("cases", "accuracy", "sensitivity", "specificity", "AUC"),
                tuple(
                    (*_row(name, each.performance), figure(each.auc, each.auc_interval))
                    for name, each in before_after
                ),
            ),
        ),
        {
            "needed": needed,
            "readers": panel,
            "labels": LABELS,
            "revised": revised,
            "undecided": undecided,
            "ai": dict(before_after),
        },
    )


def _verdict_table(title: str, verdicts: Sequence[Verdict], readings: Readings) -> Table:
    return Table(
        title,
        ("case", "truth before", "truth after", "bleeding : not : unread", "readers said"),
        tuple(
            (
                *(each.case, named(each.before), named(each.after)),
                f"{each.positive} : {each.negative} : {each.panel - each.positive - each.negative}",
                "; ".join(
                    filter(
                        None, (_said(who, read.get(each.case)) for who, read in readings.items())
                    )
                ),
            )
            for each in verdicts
        ),
    )


def _said(reader: str, reading: Reading | None) -> str:
    """Return a reader's words on a case, empty where there are none beyond the vote."""
    if reading is None or not (reading.remark or reading.confidence is not None):
        return ""
    sure = "" if reading.confidence is None else f", confidence {reading.confidence:g}"
    return f"{reader} ({named(reading.labels)}{sure}) {reading.remark}".strip()


def named(labels: Labels) -> str:
    """Return labels in words."""
    if labels[0] is None:
        return "not read"
    subtypes = [name for name, label in zip(LABELS, labels, strict=True) if label][1:]
    return ("bleeding" if labels[0] else "no bleeding") + (
        f": {', '.join(subtypes)}" if subtypes else ""
    )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _plain(value: object) -> object:
    """Return what JSON can hold: rounded, None for what is not defined."""
    if isinstance(value, Proportion):
        interval = _plain(value.interval)
        return {
            "value": _plain(value.value),
            "interval": interval,
            "count": f"{value.hits}/{value.trials}",
        }
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
