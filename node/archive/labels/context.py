"""What a sentence says of each hemorrhage that it mentions: there, absent, doubted, of the past.

After ConText (Harkema 2009, doi:10.1016/j.jbi.2009.05.002): a phrase such as "no evidence of" acts
on the mentions behind it, one such as "cannot be excluded" on those before it, until a word such as
"but" ends its reach. Two rules are added. Across a comma or an "and", a phrase reaches a mention of
a list ("no hemorrhage, mass or midline shift"), and none that is described ("no fracture, small
left subdural hematoma"). And what lies outside of the skull is told by the words beside it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from node.archive.labels.phrases import Found, fold
from node.archive.labels.spelling import Speller
from node.archive.labels.vocabulary import Vocabulary

CLOSELY = 1
"""Words that may stand between a hemorrhage and a "not" or "none" that acts on it. Chosen."""
_COMMA = re.compile(r",(?!\d)|/(?=\s)")
_STOP = re.compile(r";|\s[\u2013\u2014-]+\s|\.\s")


class Status(StrEnum):
    """What is said of a mention; the value is the name of the rule that told it."""

    ASSERTED = "asserted"
    KNOWN = "known or changing"
    NEGATED = "negated"
    RESOLVED = "resolved"
    DOUBTED = "doubted"
    ELSEWHERE = "outside of the skull"
    ASKED = "asked or advised"
    NOT_NEW = "nothing new"
    PAST = "another time or person"
    NORMAL = "nothing abnormal"


PRESENT = frozenset({Status.ASSERTED, Status.KNOWN})
ABSENT = frozenset({Status.NEGATED, Status.RESOLVED, Status.NORMAL})
_ORDER = (
    ("asked", Status.ASKED),
    ("doubted", Status.DOUBTED),
    ("negated", Status.NEGATED),
    ("closely", Status.NEGATED),
    ("resolved", Status.RESOLVED),
    ("not_new", Status.NOT_NEW),
)
"""Which phrase decides, where several reach a mention; "past" and "known" come after these."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A hemorrhage that a sentence mentions, and what it says of it."""

    status: Status
    phrase: str
    """The words that told it; the mention's own where none did."""
    sentence: str
    """As it stands in the report."""
    is_whole: bool
    """Whether it speaks of the whole inside of the skull."""
    is_specific: bool
    """Whether its words say that it is inside the skull."""
    acute_only: bool
    """Whether the sentence speaks of acute blood alone."""
    not_acute: bool
    """Whether the sentence calls it old, known or unchanged."""


class SentenceReader:
    """Reads single sentences in one language."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._speller = Speller(vocabulary)

    def mentions(self, sentence: str) -> list[Mention]:
        """Return what a sentence, in NFC, says of each hemorrhage in it."""
        text = self._speller.corrected(fold(sentence))
        targets = [
            found for found in self._vocabulary.targets.all(text) if "not_blood" not in found.roles
        ]
        if not targets:
            return []
        parsed = _Sentence(sentence, text, targets, self._vocabulary)
        return [mention for target in targets if (mention := parsed.mention(target))]


class _Sentence:
    """One sentence, with its phrases and breaks."""

    def __init__(
        self, sentence: str, text: str, targets: list[Found], vocabulary: Vocabulary
    ) -> None:
        self._sentence = sentence
        self._text = text
        self._targets = targets
        self._vocabulary = vocabulary
        self._modifiers = vocabulary.modifiers.all(text)
        self._commas = [found.span() for found in _COMMA.finditer(text)]
        self._ands = [(each.start, each.end) for each in vocabulary.and_words.all(text)]
        self._ends = [found.span() for found in _STOP.finditer(text)]
        self._ends += [(each.start, each.end) for each in self._with("ends")]

    def _with(self, role: str) -> list[Found]:
        return [each for each in self._modifiers if role in each.roles]

    def mention(self, target: Found) -> Mention | None:
        """Return what is said of a target; None if it says nothing of blood."""
        status, phrase = self._status(target)
        if "normal" in target.roles:
            if status is not Status.ASSERTED:
                return None
            status = Status.NORMAL
        elif "abnormality" in target.roles:
            if status is not Status.NEGATED:
                return None
            status, phrase = Status.NORMAL, f"{phrase} {target.words}"
        is_specific = bool(target.roles & {"whole", "inside"}) or self._has_place(target)
        start, end = self._segment(target)
        return Mention(
            status=status,
            phrase=" ".join(phrase.split()),
            sentence=self._sentence,
            is_whole="whole" in target.roles,
            is_specific=is_specific,
            acute_only=self._vocabulary.acute.within(self._text[start:end]),
            not_acute=self._vocabulary.not_acute.within(self._text),
        )

    def _status(self, target: Found) -> tuple[Status, str]:
        if place := self._elsewhere(target):
            return Status.ELSEWHERE, place
        reaching = [
            (role, each) for each in self._modifiers for role in self._reaching(each, target)
        ]
        for role, status in _ORDER:
            for reached, each in reaching:
                if reached == role:
                    return status, each.words
        if self._is_asked(target):
            return Status.DOUBTED, "?"
        known = next((each for reached, each in reaching if reached == "known"), None)
        past = next((each for reached, each in reaching if reached == "past"), None)
        if known:
            return Status.KNOWN, known.words
        if past:
            return Status.PAST, past.words
        return Status.ASSERTED, target.words

    def _is_asked(self, target: Found) -> bool:
        """Return whether the sentence ends in a question mark, or one stands before: "? SDH"."""
        before = self._text[: target.start].rstrip()
        return self._text.rstrip().endswith("?") or before.endswith("?")

    # --- how far a phrase reaches ---

    def _reaching(self, each: Found, target: Found) -> Iterator[str]:
        """Yield the roles by which a phrase reaches a target."""
        if each.start < target.end and target.start < each.end:
            return
        for role in each.roles:
            side, _, kind = role.partition(" ")
            if side == "known":
                if self._is_beside(each, target):
                    yield "known"
            elif kind and side == self._side(each, target) and self._reaches(each, target, kind):
                yield kind

    @staticmethod
    def _side(each: Found, target: Found) -> str:
        return "before" if each.end <= target.start else "after"

    def _reaches(self, each: Found, target: Found, kind: str) -> bool:
        gap = (min(each.end, target.end), max(each.start, target.start))
        if any(_inside(end, gap) for end in self._ends):
            return False
        commas = sum(_inside(comma, gap) for comma in self._commas)
        if kind == "closely":
            return self._reaches_closely(each, target, 0 if commas else CLOSELY)
        if kind == "past" and commas:
            return False
        if each.end <= target.start:
            if ":" in self._text[slice(*gap)]:
                return False
        elif commas and not self._is_list_or_aside(gap, commas):
            return False
        if not any(_inside(end, gap) for end in (*self._commas, *self._ands)):
            return kind != "negated" or not self._belongs_to_another(target, gap)
        start, end = self._segment(target)
        segment = self._text[start:end]
        return self._vocabulary.or_words.within(segment) or not self._is_described(segment)

    def _belongs_to_another(self, target: Found, gap: tuple[int, int]) -> bool:
        """Return whether a target's part is denied and not itself: "no rupture of the hematoma"."""
        between = [each for each in self._targets if _inside((each.start, each.end), gap)]
        if not between or target.start < gap[1]:
            return False
        joint = self._text[between[-1].end : target.start]
        return any(map(str.isalpha, joint)) and not self._vocabulary.or_words.within(joint)

    def _reaches_closely(self, each: Found, target: Found, most: int) -> bool:
        """Return whether at most so many words are between; behind "none" the clause must end."""
        before, after = sorted((each, target), key=lambda found: found.start)
        follows = self._text[each.end :].lstrip()
        if each is after and follows[:1].isalnum():
            return False
        return len(self._text[before.end : after.start].strip(" :,").split()) <= most

    def _is_list_or_aside(self, gap: tuple[int, int], commas: int) -> bool:
        """Return whether a phrase reaches back over commas: "a, b and c are not seen".

        It does in a list, and over an aside between two commas. In "hematoma, shift resolved" it
        does not.
        """
        joins = (self._vocabulary.and_words, self._vocabulary.or_words)
        return commas == 2 or any(each.within(self._text[slice(*gap)]) for each in joins)

    def _is_described(self, segment: str) -> bool:
        return self._vocabulary.details.within(segment)

    def _is_beside(self, each: Found, target: Found) -> bool:
        """Return whether a phrase stands in the target's segment, or is the next one by itself."""
        gap = (min(each.end, target.end), max(each.start, target.start))
        if any(_inside(end, gap) for end in self._ends):
            return False
        start, end = self._segment(target, with_ands=False)
        if start <= each.start and each.end <= end:
            return True
        alone = self._text[slice(*self._segment(each, with_ands=False))]
        return alone.strip(" .,") == each.words

    def _segment(self, of: Found, *, with_ands: bool = True) -> tuple[int, int]:
        """Return the part of the sentence between two breaks in which something stands."""
        breaks = [*self._commas, *self._ends, *(self._ands if with_ands else ())]
        start = max((end for _, end in breaks if end <= of.start), default=0)
        end = min((begin for begin, _ in breaks if begin >= of.end), default=len(self._text))
        return start, end

    # --- where it is ---

    def _chunk(self, target: Found) -> str:
        """Return the words that say where a target is: until a comma, a "but" or a "no"."""
        stops = [each for each in self._modifiers if not each.roles <= {"known", "consumed"}]
        breaks = [*self._commas, *self._ends, *((each.start, each.end) for each in stops)]
        start = max((end for _, end in breaks if end <= target.start), default=0)
        end = min((begin for begin, _ in breaks if begin >= target.end), default=len(self._text))
        return self._text[start:end]

    def _has_place(self, target: Found) -> bool:
        return self._vocabulary.places.within(self._chunk(target))

    def _elsewhere(self, target: Found) -> str:
        """Return the words that put a target outside of the skull; "" if none do."""
        chunk = self._chunk(target)
        if found := self._vocabulary.spine.all(chunk):
            return found[0].words
        if "unspecific" not in target.roles or self._vocabulary.places.within(chunk):
            return ""
        return next((found.words for found in self._vocabulary.outside.all(chunk)), "")


def _inside(span: tuple[int, int], gap: tuple[int, int]) -> bool:
    return gap[0] <= span[0] and span[1] <= gap[1]
