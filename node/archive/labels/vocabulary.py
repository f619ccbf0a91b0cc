"""The vocabulary of one language, from its file: what reports say of blood, and how.

The files that come with ichnode are in `vocabularies/`; docs/archive.md says what each list does.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.archive.labels.phrases import Finder, expanded, fold
from node.errors import BadConfiguration

SHIPPED = Path(__file__).parent / "vocabularies"
LANGUAGES = ("en", "de", "es")
LISTS: Mapping[str, tuple[str, ...]] = {
    "": ("common", "abbreviations", "spelled"),
    "headings": ("question", "title", "findings", "impression", "addendum"),
    "regions": ("modality", "head", "other"),
    "blood": ("whole", "inside", "unspecific", "places", "not_blood", "outside", "spine"),
    "nothing": ("abnormality", "normal"),
    "before": ("negated", "closely", "doubted", "asked", "past", "resolved", "not_new"),
    "after": ("negated", "closely", "doubted", "asked", "past", "resolved"),
    "anywhere": ("known", "not_acute"),
    "scope": ("consumed", "ends", "or_words", "and_words", "acute", "details"),
}
"""The lists that a file may have, by table."""
Tables = dict[str, dict[str, list[str]]]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What one language says, ready to be searched for. Texts are folded before."""

    language: str
    words: frozenset[str]
    """Single words that tell the language."""
    abbreviations: frozenset[str]
    spelled: tuple[str, ...]
    """Long words as they are spelled; others that are nearly one are typing errors."""
    headings: Finder
    """Roles: the lists of [headings]."""
    regions: Finder
    """Roles: the lists of [regions]."""
    targets: Finder
    """Roles: whole, inside, unspecific, not_blood, abnormality, normal."""
    places: Finder
    outside: Finder
    spine: Finder
    modifiers: Finder
    """Roles: "before negated", ..., "after negated", ..., "known", "consumed", "ends"."""
    not_acute: Finder
    acute: Finder
    or_words: Finder
    and_words: Finder
    details: Finder


def vocabularies(more: Iterable[Path] = ()) -> dict[str, Vocabulary]:
    """Return the vocabularies by language: the shipped ones, with the words of more files.

    Parameters
    ----------
    more
        Files of the same form. Each adds to the lists of the language that it names, or brings a
        language of its own.

    Raises
    ------
    BadConfiguration
        If a file cannot be read, or has a list that nobody knows.
    """
    read: dict[str, Tables] = {}
    for path in (*(SHIPPED / f"{language}.toml" for language in LANGUAGES), *more):
        language, tables = _read(path)
        _add(read.setdefault(language, {}), tables)
    return {language: _vocabulary(language, tables) for language, tables in read.items()}


def _read(path: Path) -> tuple[str, Tables]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadConfiguration(f"{path}: cannot be read as a vocabulary: {reason}") from error
    language = data.pop("language", None)
    if not isinstance(language, str):
        raise BadConfiguration(f'{path}: it does not say its language, such as language = "en"')
    stands_for = data.pop("stands_for", {})
    top = {name: data.pop(name) for name in LISTS[""] if name in data}
    tables = {"": top, "stands_for": stands_for, **data}
    for table, lists in tables.items():
        _check(path, table, lists)
    return language, tables


def _check(path: Path, table: str, lists: Any) -> None:
    """Refuse what would be silently of no use: a misspelled list, or one that holds no phrases."""
    where = f"{path}, [{table}]" if table else f"{path}"
    if table not in LISTS and table != "stands_for":
        known = ", ".join(filter(None, LISTS))
        raise BadConfiguration(f"{where}: there is no such table; known: {known}")
    if not isinstance(lists, dict):
        raise BadConfiguration(f"{where}: it is no table of lists")
    for name, phrases in lists.items():
        if table in LISTS and name not in LISTS[table]:
            known = ", ".join(LISTS[table])
            raise BadConfiguration(f"{where}: there is no list {name!r}; known: {known}")
        if not isinstance(phrases, list) or not all(map(_is_phrase, phrases)):
            raise BadConfiguration(f"{where}, {name}: it is no list of phrases")


def _is_phrase(phrase: Any) -> bool:
    return isinstance(phrase, str) and any(letter.isalnum() for letter in phrase)


def _add(to: Tables, tables: Tables) -> None:
    for table, lists in tables.items():
        for name, phrases in lists.items():
            to.setdefault(table, {}).setdefault(name, []).extend(phrases)


def _vocabulary(language: str, tables: Tables) -> Vocabulary:
    names = tables.get("stands_for", {})

    def phrases(table: str, name: str) -> list[str]:
        try:
            listed = tables.get(table, {}).get(name, [])
            return [each for phrase in listed for each in expanded(phrase, names)]
        except KeyError as error:
            raise BadConfiguration(f"vocabulary {language}: nothing stands for {error}") from error

    def finder(table: str, *names: str) -> Finder:
        return Finder({name: phrases(table, name) for name in names})

    targets = {name: phrases("blood", name) for name in ("whole", "inside", "unspecific")}
    targets["not_blood"] = phrases("blood", "not_blood")
    targets |= {name: phrases("nothing", name) for name in LISTS["nothing"]}
    modifiers = {
        f"{side} {name}": phrases(side, name)
        for side in ("before", "after")
        for name in LISTS[side]
    }
    modifiers["known"] = phrases("anywhere", "known")
    modifiers |= {name: phrases("scope", name) for name in ("consumed", "ends")}
    common = phrases("", "common")
    said = [
        *common,
        *(word for each in (targets, modifiers) for one in each.values() for word in one),
    ]
    return Vocabulary(
        language=language,
        words=frozenset(fold(word).lower() for word in said if word.isalpha()),
        abbreviations=frozenset(fold(word).lower() for word in phrases("", "abbreviations")),
        spelled=tuple(fold(word).lower() for word in phrases("", "spelled")),
        headings=finder("headings", *LISTS["headings"]),
        regions=finder("regions", *LISTS["regions"]),
        targets=Finder(targets),
        places=finder("blood", "places"),
        outside=finder("blood", "outside"),
        spine=finder("blood", "spine"),
        modifiers=Finder(modifiers),
        not_acute=finder("anywhere", "not_acute"),
        acute=finder("scope", "acute"),
        or_words=finder("scope", "or_words"),
        and_words=finder("scope", "and_words"),
        details=finder("scope", "details"),
    )
