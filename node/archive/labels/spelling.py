"""Typing errors in the long words that a label hangs on: "hemmorhage", "subdral"."""

import re
from difflib import get_close_matches

from node.archive.labels.vocabulary import Vocabulary

NEAR = 0.84
"""How alike two words must be, by difflib's ratio. Chosen: "hematoma" and "hamartoma" are 0.82,
"intracranial" and "extracranial" 0.83; "hemmorhage" is 0.90 from "hemorrhage"."""
SHORTEST = 6
"""Shorter words are left as they are: one letter makes another word of them."""
_WORD = re.compile(rf"[^\W\d_]{{{SHORTEST},}}")
MOST_KNOWN = 20_000
"""So many words are remembered; then all are forgotten."""


class Speller:
    """Puts words right that are nearly one of the vocabulary's spelled words."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._known: dict[str, str] = {}

    def corrected(self, text: str) -> str:
        """Return a folded text with its typing errors put right; its length may change."""
        return _WORD.sub(lambda found: self._word(found[0]), text)

    def _word(self, word: str) -> str:
        right = self._known.get(word)
        if right is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            right = self._known[word] = self._looked_up(word)
        return right

    def _looked_up(self, word: str) -> str:
        lower = word.lower()
        vocabulary = self._vocabulary
        if lower in vocabulary.words or vocabulary.targets.within(lower):
            return word
        if vocabulary.outside.within(lower):
            return word
        return next(iter(get_close_matches(lower, vocabulary.spelled, 1, NEAR)), word)
