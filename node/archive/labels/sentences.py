"""The sentences of a section: of running text, of wrapped lines, of lists and of single lines."""

import re
from collections.abc import Iterator

from node.archive.labels.phrases import fold

_BULLET = re.compile(r"\s*(?:[-*•–]|\(?\d{1,2}[.)](?!\d)|[a-z]\))\s+")
_END = re.compile(r"[.?!]+(?=[\s\"')\]]|$)|(?<=[^\W\d_]{2})[.?!](?=[A-ZÀ-Þ][^\W\d_])")
_LAST_WORD = re.compile(r"[\w./-]*$")
WRAPPED = 0.75
"""A line of at least this share of the longest line goes on in the next. Chosen."""
NARROWEST = 60
"""Reports are wrapped at no fewer characters than these. Chosen."""


def sentences(text: str, abbreviations: frozenset[str]) -> Iterator[str]:
    """Yield the sentences of a section, each on one line and without its number or bullet."""
    for block in _blocks(text):
        for sentence in _split(block, abbreviations):
            if any(letter.isalnum() for letter in sentence):
                yield sentence


def _blocks(text: str) -> Iterator[str]:
    """Yield what surely holds whole sentences: paragraphs, items of lists, lines."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    width = max(map(len, lines), default=0)
    block: list[str] = []
    for line in lines:
        if block and not _goes_on(block[-1], line, width):
            yield " ".join(block)
            block = []
        if line:
            block.append(line)
    if block:
        yield " ".join(block)


def _goes_on(line: str, following: str, width: int) -> bool:
    if not following or _BULLET.match(following):
        return False
    if following[0].islower() or line.endswith(","):
        return True
    return width >= NARROWEST and len(line) >= WRAPPED * width


def _split(block: str, abbreviations: frozenset[str]) -> Iterator[str]:
    start = 0
    for end in _END.finditer(block):
        if _is_end(block[start : end.start()], block[end.end() :], end[0], abbreviations):
            yield _plain(block[start : end.end()])
            start = end.end()
    if rest := _plain(block[start:]):
        yield rest


def _is_end(before: str, after: str, sign: str, abbreviations: frozenset[str]) -> bool:
    """Return whether a sign ends a sentence: an abbreviation's full stop does not."""
    if sign != "." or not after:
        return True
    following = after.lstrip()
    found = _LAST_WORD.search(before)
    word = fold(found[0] if found else "").lower()
    if following[:1].islower() or word in abbreviations or len(word) == 1:
        return False
    return bool(word) and not (word.isdigit() and before.strip() == word)


def _plain(sentence: str) -> str:
    sentence = sentence.strip()
    found = _BULLET.match(sentence)
    return sentence[found.end() :] if found else sentence
