"""Which language a report is written in."""

import re
from collections.abc import Mapping

from node.archive.labels.phrases import fold
from node.archive.labels.vocabulary import Vocabulary

_WORD = re.compile(r"[^\W\d_]+")


class Languages:
    """Tells a text's language by the words of each vocabulary."""

    def __init__(self, vocabularies: Mapping[str, Vocabulary]) -> None:
        self._vocabularies = vocabularies

    def of(self, text: str) -> str:
        """Return the language that most words of a text are of; "" if no word is of any.

        Where several have as many, headings and hemorrhages count, and then the order of the
        vocabularies.
        """
        folded = fold(text)
        words = _WORD.findall(folded.lower())
        scores = {
            name: sum(word in each.words for word in words)
            for name, each in self._vocabularies.items()
        }
        most = max(scores.values(), default=0)
        best = [name for name, score in scores.items() if score == most]
        if len(best) < 2:
            return "".join(best)
        phrases = {name: self._phrases(name, folded) for name in best}
        return max(best, key=lambda name: phrases[name]) if any(phrases.values()) or most else ""

    def _phrases(self, name: str, folded: str) -> int:
        vocabulary = self._vocabularies[name]
        return len(vocabulary.targets.all(folded)) + len(vocabulary.headings.all(folded))
