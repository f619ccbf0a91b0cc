"""The sections of a report: which of its lines may decide, and which outranks which.

What was asked, the history, the comparison and the advice never decide. The impression outranks
the findings, and an addendum both.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from node.archive.labels.phrases import fold
from node.archive.labels.vocabulary import Vocabulary

_HEADING = re.compile(r"[\s\d.)*•#-]*([^:\n]{2,70}?)\s*:(?!\d)\s*(.*)")
_AFTER_A_SENTENCE = r"(?<=[.?!;])[^\S\n]+(?=[^\W\d_])"
LONGEST_HEADING = 6
"""Words. A longer line that begins like a heading is a sentence. Chosen."""
LONGEST_TITLE = 100
"""Characters of a first line that names the examination. Chosen."""


class Rank(IntEnum):
    """A section with a higher rank outranks the others; one of rank 0 never decides."""

    ASIDE = 0
    FINDINGS = 1
    IMPRESSION = 2
    ADDENDUM = 3


_RANKS = {
    "question": Rank.ASIDE,
    "title": Rank.ASIDE,
    "findings": Rank.FINDINGS,
    "impression": Rank.IMPRESSION,
    "addendum": Rank.ADDENDUM,
}


@dataclass(frozen=True, slots=True)
class Section:
    """Lines of a report under one heading."""

    rank: Rank
    text: str


def sections(text: str, vocabulary: Vocabulary) -> list[Section]:
    """Return the sections of a report, in its order. Lines without a heading are findings."""
    reading = _Reading(vocabulary)
    for line in _with_headings_on_lines(text).splitlines():
        reading.take(line)
    return reading.ended()


def is_of_another_part(text: str, vocabulary: Vocabulary) -> bool:
    """Return whether a report names what was examined, and no head is among it."""
    regions = {role for title in _titles(text, vocabulary) for role in _regions(title, vocabulary)}
    return "other" in regions and "head" not in regions


def _regions(text: str, vocabulary: Vocabulary) -> set[str]:
    return {role for found in vocabulary.regions.all(fold(text)) for role in found.roles}


def _titles(text: str, vocabulary: Vocabulary) -> Iterator[str]:
    """Yield what says which examination this is: the first line if it names one, and headings."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and len(lines[0]) <= LONGEST_TITLE and "modality" in _regions(lines[0], vocabulary):
        yield lines[0]
    for line in lines:
        found = _HEADING.match(line)
        if found and _kind(found[1], vocabulary) == "title":
            yield found[2]


def _with_headings_on_lines(text: str) -> str:
    """Put a heading that follows a sentence, as in "... Impression: ...", on a line of its own."""
    return re.sub(rf"{_AFTER_A_SENTENCE}(?=[A-ZÀ-Þ][^:.?!\n]{{2,40}}:(?!\d))", "\n", text)


def _kind(name: str, vocabulary: Vocabulary) -> str:
    """Return which list of headings a name is of; "" if it is no heading."""
    words = fold(name).strip(" *#-_").split()
    if not 0 < len(words) <= LONGEST_HEADING:
        return ""
    whole = " ".join(words)
    for candidate in (whole, *_without_regions(words, vocabulary)):
        if roles := vocabulary.headings.is_all_of(candidate):
            return min(roles)
    return "addendum" if "addendum" in vocabulary.headings.is_all_of(words[0]) else ""


def _kind_by_first_word(name: str, vocabulary: Vocabulary) -> str:
    """Return "question" for "Reason for the visit:", which is one of many such headings."""
    words = fold(name).strip(" *#-_").split()
    known = 0 < len(words) <= LONGEST_HEADING and vocabulary.headings.is_all_of(words[0])
    return min(known) if known else ""


def _without_regions(words: list[str], vocabulary: Vocabulary) -> Iterator[str]:
    """Yield "FINDINGS" of "CT HEAD FINDINGS" and of "FINDINGS 2"."""
    at = 0
    while at < len(words) and vocabulary.regions.within(words[at]):
        at += 1
    if 0 < at < len(words):
        yield " ".join(words[at:])
    if words[-1].strip("().#").isdigit():
        yield " ".join(words[:-1])


class _Reading:
    """The lines of a report, as they are dealt into sections."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._done: list[Section] = []
        self._lines: list[str] = []
        self._rank = Rank.FINDINGS
        self._elsewhere = False

    def take(self, line: str) -> None:
        """Take the next line: a heading, or one under the heading before."""
        found = _HEADING.match(line)
        name, rest = (found[1], found[2]) if found else (line.strip(), "")
        if kind := self._kind_of(name, has_colon=found is not None):
            self._begin(_RANKS[kind], rest)
        elif region := "" if rest else self._region(name):
            self._close()
            self._elsewhere = region == "other"
        elif not line.strip() and self._rank is Rank.ASIDE and any(self._lines):
            self._begin(Rank.FINDINGS, "")
        else:
            self._lines.append(line)

    def _kind_of(self, name: str, *, has_colon: bool) -> str:
        if kind := _kind(name, self._vocabulary):
            return kind
        return _kind_by_first_word(name, self._vocabulary) if has_colon else ""

    def _begin(self, rank: Rank, rest: str) -> None:
        self._close()
        self._rank = rank
        self._elsewhere = self._elsewhere and rank is Rank.FINDINGS
        self._lines.append(rest)

    def _region(self, name: str) -> str:
        """Return "head" or "other" for a line that only names a part of the body; else ""."""
        words = fold(name).split()
        regions = _regions(name, self._vocabulary) - {"modality"}
        if not regions or len(words) > LONGEST_HEADING or name.endswith("."):
            return ""
        if self._vocabulary.targets.within(fold(name)):
            return ""
        if name != name.upper() and not self._vocabulary.regions.is_all_of(fold(name)):
            return ""
        return "head" if "head" in regions else "other"

    def _close(self) -> None:
        rank = Rank.ASIDE if self._elsewhere else self._rank
        if any(line.strip() for line in self._lines):
            self._done.append(Section(rank, "\n".join(self._lines)))
        self._lines = []

    def ended(self) -> list[Section]:
        """Return all sections, when there are no more lines."""
        self._close()
        return self._done
