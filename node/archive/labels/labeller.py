"""The label of a report: bleeds, none or cannot tell, with the sentence that decided."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from node.archive.labels.context import ABSENT, PRESENT, Mention, SentenceReader, Status
from node.archive.labels.language import Languages
from node.archive.labels.sections import Rank, is_of_another_part, sections
from node.archive.labels.sentences import sentences
from node.archive.labels.vocabulary import Vocabulary
from node.reported import Answer


@dataclass(frozen=True, slots=True)
class Label:
    """An answer and why it was given."""

    answer: Answer
    sentence: str
    """The sentence that decided, as it stands in the report; "" only if the answer is that the
    report cannot tell, or if the label was given."""
    rule: str
    """The name of the rule, and the words in the report that it rests on."""
    language: str = ""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the sections of one rank say."""

    answer: Answer
    mention: Mention

    def label(self) -> Label:
        rule = f'{self.mention.status}: "{self.mention.phrase}"'
        return Label(self.answer, self.mention.sentence, rule)


class Labeller:
    """Labels reports by rules; it keeps nothing of them but how their long words are spelled."""

    def __init__(self, vocabularies: Mapping[str, Vocabulary]) -> None:
        self._vocabularies = vocabularies
        self._languages = Languages(vocabularies)
        self._readers = {name: SentenceReader(each) for name, each in vocabularies.items()}

    def label(self, report: str, language: str = "") -> Label:
        """Return the label of a report.

        Parameters
        ----------
        report
            Its text, with its line breaks.
        language
            One of the vocabularies', or "" to have it told by its words.
        """
        text = unicodedata.normalize("NFC", report)
        language = language or self._languages.of(text)
        if not language:
            return Label(Answer.CANNOT_TELL, "", "the language is not known")
        return replace(self._label(text, language), language=language)

    def _label(self, text: str, language: str) -> Label:
        vocabulary = self._vocabularies[language]
        if is_of_another_part(text, vocabulary):
            return Label(Answer.CANNOT_TELL, "", "another part of the body")
        mentions = self._mentions(text, language)
        verdicts = [each for each in map(_verdict, mentions) if each]
        if verdicts:
            return _outranking(verdicts)
        return Label(Answer.CANNOT_TELL, "", "no sentence decides")

    def _mentions(self, text: str, language: str) -> list[list[Mention]]:
        """Return the mentions of the sections of each rank that may decide, the highest first."""
        vocabulary, reader = self._vocabularies[language], self._readers[language]
        by_rank: dict[Rank, list[Mention]] = {}
        for section in sections(text, vocabulary):
            if section.rank is not Rank.ASIDE:
                found = by_rank.setdefault(section.rank, [])
                for sentence in sentences(section.text, vocabulary.abbreviations):
                    found += reader.mentions(sentence)
        return [by_rank[rank] for rank in sorted(by_rank, reverse=True)]


def _verdict(mentions: Iterable[Mention]) -> _Verdict | None:
    """Return what the sections of one rank say; None if they say nothing of blood.

    What is there outweighs what is doubted, and that what is absent. A hemorrhage whose place is
    not said is none inside the skull where the same sections deny that as a whole ("left parietal
    hematoma. No intracranial hemorrhage.").
    """
    mentions = list(mentions)
    there = [each for each in mentions if each.status in PRESENT]
    denied = [
        each
        for each in mentions
        if each.status is Status.NEGATED and each.is_whole and not each.acute_only
    ]
    inside = [each for each in there if each.is_specific]
    if denied and not inside:
        there = []
    if there:
        return _Verdict(Answer.BLEEDS, (inside or there)[0])
    for each in mentions:
        if each.status is Status.DOUBTED:
            return _Verdict(Answer.CANNOT_TELL, each)
    absent = [each for each in mentions if each.status in ABSENT]
    plain = [each for each in absent if each.status is not Status.NORMAL]
    return _Verdict(Answer.NONE, (denied or plain or absent)[0]) if absent else None


def _outranking(verdicts: list[_Verdict]) -> Label:
    """Return the label by the highest rank; "none" may say less than a lower rank does.

    "No acute hemorrhage" leaves an old one standing that the findings describe, and contradicts
    a fresh one. "Normal study" gives way to a sentence of the findings that names hemorrhage.
    """
    first, *lower = verdicts
    is_normal = first.mention.status is Status.NORMAL
    if first.answer is not Answer.NONE or not (is_normal or first.mention.acute_only):
        return first.label()
    for other in lower:
        if other.answer is Answer.BLEEDS:
            return other.label() if other.mention.not_acute else _contradicted(first, other)
    plainer = [each for each in lower if each.answer is Answer.NONE] if is_normal else []
    return (plainer or [first])[0].label()


def _contradicted(first: _Verdict, other: _Verdict) -> Label:
    rule = f'the sections contradict each other: "{other.mention.sentence}"'
    return Label(Answer.CANNOT_TELL, first.mention.sentence, rule)
