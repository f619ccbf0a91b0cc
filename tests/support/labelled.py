"""The synthetic sentences and reports of the labeller, and how often it is right on them."""

import csv
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from node.archive.labels import Label, Labeller, vocabularies
from tests.support import ROOT

FOLDER = ROOT / "tests/node/archive/reports"
SETS = ("frozen", "later", "third")
LANGUAGES = ("en", "de", "es")
DOCUMENT = ROOT / "docs/archive.md"
BEGIN, END = "<!-- figures: python -m tests.label_table -->", "<!-- end of figures -->"


@dataclass(frozen=True, slots=True)
class Example:
    """A sentence or a report, the answer that is right, and those that were given."""

    name: str
    kind: str
    language: str
    right: str
    text: str
    decided: str
    """A part of the sentence that must decide; "" where none must."""
    first: str
    """What was answered when the labeller first ran on it."""

    @property
    def now(self) -> str:
        return label_of(self.text).answer.value

    @property
    def is_report(self) -> bool:
        return self.name[0].isupper()


@cache
def labeller() -> Labeller:
    return Labeller(vocabularies())


@cache
def label_of(text: str) -> Label:
    return labeller().label(text)


def examples(which: str) -> list[Example]:
    """Return the sentences, then the reports, of one set."""
    with (FOLDER / f"{which}_first_answers.csv").open(encoding="utf-8", newline="") as file:
        first = {row["name"]: row["answer"] for row in csv.DictReader(file)}
    return [
        Example(
            row["name"],
            row["kind"],
            row["language"],
            row["label"],
            row["text"],
            row.get("decided", ""),
            first[row["name"]],
        )
        for row in _rows(which)
    ]


def _rows(which: str) -> Iterator[dict[str, str]]:
    with (FOLDER / f"{which}_sentences.csv").open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
    yield from tomllib.loads((FOLDER / f"{which}_reports.toml").read_text("utf-8"))["report"]


# --- the figures in the documentation ---

HEAD = """| {name} | n | bleeds: precision | recall | none: precision | recall | right |
|---|---|---|---|---|---|---|"""
Answers = Callable[[Example], str]


def figures() -> str:
    """Return the tables of docs/archive.md, each cell as it was first and as it is now."""
    sets = {which: examples(which) for which in SETS}
    return "\n\n".join((_summary(sets), *(_by_kind(which, sets[which]) for which in SETS)))


def _summary(sets: dict[str, list[Example]]) -> str:
    lines = [HEAD.format(name="set")]
    for which, all_of_it in sets.items():
        for is_report, what in ((False, "sentences"), (True, "reports")):
            chosen = [each for each in all_of_it if each.is_report is is_report]
            lines.append(_line(f"{which} {what}", chosen))
    everything = [each for each in sum(sets.values(), []) if not each.is_report]
    for language in LANGUAGES:
        chosen = [each for each in everything if each.language == language]
        lines.append(_line(f"sentences, {language}", chosen))
    return "\n".join(lines)


def _by_kind(which: str, chosen: Sequence[Example]) -> str:
    lines = [HEAD.format(name=f"{which} set: kind")]
    for is_report in (False, True):
        part = [each for each in chosen if each.is_report is is_report]
        for kind in dict.fromkeys(each.kind for each in part):
            name = f"report: {kind}" if is_report else kind
            lines.append(_line(name, [each for each in part if each.kind == kind]))
    return "\n".join(lines)


def _line(name: str, chosen: Sequence[Example]) -> str:
    cells = [name, str(len(chosen))]
    for answer in ("bleeds", "none"):
        cells += [_both(chosen, answer, _precision), _both(chosen, answer, _recall)]
    right = [sum(given(each) == each.right for each in chosen) for given in (_first, _now)]
    return f"| {' | '.join((*cells, _changed(*map(str, right))))} |"


def _first(each: Example) -> str:
    return each.first


def _now(each: Example) -> str:
    return each.now


def _both(
    chosen: Iterable[Example], answer: str, share: Callable[[Sequence[Example], str, Answers], str]
) -> str:
    chosen = list(chosen)
    return _changed(share(chosen, answer, _first), share(chosen, answer, _now))


def _changed(first: str, now: str) -> str:
    return now if first == now else f"{first} → {now}"


def _precision(chosen: Sequence[Example], answer: str, given: Answers) -> str:
    named = [each for each in chosen if given(each) == answer]
    return _share(sum(each.right == answer for each in named), len(named))


def _recall(chosen: Sequence[Example], answer: str, given: Answers) -> str:
    there = [each for each in chosen if each.right == answer]
    return _share(sum(given(each) == answer for each in there), len(there))


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole}" if whole else "–"
