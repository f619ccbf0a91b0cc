"""Settings of when a series is complete, and which can be read."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from node.settings.section import Section


def _word(text: str) -> str:
    """Return the text without the space around it; it must be a word and no pattern."""
    word = " ".join(text.split())
    if not 2 <= len(word) <= 64 or not any(map(str.isalpha, word)):
        raise ValueError(f"{text!r} is no word: 2 to 64 characters, one of them a letter")
    return word


Word = Annotated[str, AfterValidator(_word)]


class Assemble(Section):
    """When a series is complete, and which series can be read."""

    grace_s: float = Field(2.0, ge=0, description="wait after the evidence is complete, seconds")
    idle_s: float = Field(60.0, ge=0, description="close a series without evidence, seconds")
    min_slices: int = Field(3, ge=3, description="fewer slices are not analysed")
    min_coverage_mm: float = Field(80.0, gt=0, description="shorter scans are not analysed, mm")
    max_gap_factor: float = Field(
        1.6, gt=1, description="a gap this many times the spacing around it is a missing slice"
    )
    read_contrast: bool = Field(False, description="read contrast-enhanced series all the same")
    min_age_years: float = Field(2.0, ge=0, description="younger patients are not analysed, years")
    prior_after_days: int = Field(
        7,
        ge=0,
        description="a study acquired longer before it arrives is a prior, days; 0: none is",
    )
    ask: str = Field(
        "",
        description="which of pull.sources is asked how many images a series has; empty: none",
    )
    words_with_contrast: tuple[Word, ...] = Field(
        (), description="further words of a series description that name a contrast agent"
    )
    words_without_contrast: tuple[Word, ...] = Field(
        (), description="further words of a series description that deny a contrast agent"
    )
    words_head: tuple[Word, ...] = Field((), description="further words that name a head")
    words_elsewhere: tuple[Word, ...] = Field(
        (), description="further words that name another part of the body"
    )

    @model_validator(mode="after")
    def _has_one_meaning_a_word(self) -> Self:
        for yes, no in (
            ("words_with_contrast", "words_without_contrast"),
            ("words_head", "words_elsewhere"),
        ):
            both = {w.casefold() for w in getattr(self, yes)} & {
                w.casefold() for w in getattr(self, no)
            }
            if both:
                raise ValueError(f"{sorted(both)[0]!r} stands both in {yes} and in {no}")
        return self
