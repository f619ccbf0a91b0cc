"""Phrases of a vocabulary, as patterns that text is searched with.

A phrase is words with spaces between them. `*` stands for any letters, `#` for one digit, `{name}`
for each phrase of that name. A word in capitals is found in capitals only: "ICH" is no German
pronoun. Where a phrase has a space, a text may have a hyphen or a line break.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_GAP = r"[\s\-\u2010-\u2013]+"
_NAME = re.compile(r"\{(\w+)\}")
_WORD_START = re.compile(r"(?<!\w)\w\w?")
Phrases = Mapping[str, Iterable[str]]
"""Phrases by the role that they have."""


def fold(text: str) -> str:
    """Return the text, each letter without its accent; as long as it was, if it was in NFC."""
    return text if text.isascii() else "".join(map(_base, text))


def _base(character: str) -> str:
    return unicodedata.normalize("NFD", character)[0]


def expanded(phrase: str, stands_for: Phrases) -> Iterator[str]:
    """Yield the phrase once for each phrase that its `{name}` stands for.

    Raises
    ------
    KeyError
        If nothing has that name.
    """
    found = _NAME.search(phrase)
    if not found:
        yield phrase
        return
    for word in stands_for[found[1]]:
        yield from expanded(phrase[: found.start()] + word + phrase[found.end() :], stands_for)


def _pattern(phrase: str) -> str:
    return _GAP.join(map(_word, phrase.split()))


def _word(word: str) -> str:
    pattern = re.escape(word).replace(r"\*", r"\w*").replace(r"\#", r"\d")
    return f"(?-i:{pattern})" if len(word) > 1 and word.isupper() else pattern


@dataclass(frozen=True, slots=True)
class Found:
    """A phrase in a text."""

    start: int
    end: int
    words: str
    """What stands in the text."""
    roles: frozenset[str]
    """All roles that the phrase has."""


class Finder:
    """Finds phrases in folded text: the first in the text, and of several there the longest."""

    def __init__(self, phrases: Phrases) -> None:
        roles: dict[str, set[str]] = {}
        for role, each in phrases.items():
            for phrase in each:
                roles.setdefault(" ".join(fold(phrase).split()), set()).add(role)
        self._phrases = sorted(roles, key=len, reverse=True)
        self._roles = {phrase: frozenset(roles[phrase]) for phrase in self._phrases}
        self._starting: dict[str, _Alternatives | None] = {}

    def all(self, text: str) -> list[Found]:
        """Return what is found in a text, from left to right; nothing overlaps."""
        found: list[Found] = []
        for word in _WORD_START.finditer(text):
            if found and word.start() < found[-1].end:
                continue
            if each := self._at(text, word.start(), word[0].lower()):
                found.append(each)
        return found

    def within(self, text: str) -> bool:
        """Return whether one of the phrases is in a text."""
        return any(
            self._at(text, word.start(), word[0].lower()) for word in _WORD_START.finditer(text)
        )

    def is_all_of(self, text: str) -> frozenset[str]:
        """Return the roles of the phrase that a text is as a whole; none if it is none."""
        found = self._at(text, 0, text[:2].lower())
        return found.roles if found and found.end == len(text) else frozenset()

    def _at(self, text: str, start: int, key: str) -> Found | None:
        """Return the phrase that begins there, if one does; `key` is how the word begins."""
        if key not in self._starting:
            self._starting[key] = self._compiled(key)
        alternatives = self._starting[key]
        found = alternatives.pattern.match(text, start) if alternatives else None
        if not alternatives or not found:
            return None
        roles = alternatives.roles[(found.lastindex or 1) - 1]
        return Found(start, found.end(), found[0], roles)

    def _compiled(self, key: str) -> "_Alternatives | None":
        phrases = [phrase for phrase in self._phrases if _may_begin(phrase.lower(), key)]
        if not phrases:
            return None
        either = "|".join(f"({_pattern(phrase)})" for phrase in phrases)
        pattern = re.compile(rf"(?:{either})(?!\w)", re.IGNORECASE)
        return _Alternatives(pattern, tuple(self._roles[phrase] for phrase in phrases))


@dataclass(frozen=True, slots=True)
class _Alternatives:
    """The phrases that may stand where a word begins with certain letters, the longest first.

    One pattern of all phrases would try hundreds at each word.
    """

    pattern: re.Pattern[str]
    roles: tuple[frozenset[str], ...]


def _may_begin(phrase: str, key: str) -> bool:
    """Return whether a phrase may stand where a word begins with these one or two letters."""
    for wanted, given in zip(phrase, key, strict=False):
        if wanted == "*":
            return True
        if wanted != given and not (wanted == "#" and given.isdigit()):
            return False
    return len(phrase) >= len(key) or phrase == key
