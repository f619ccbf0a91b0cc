from dataclasses import replace

import numpy as np
import pytest

from node.states import Reason
from node.wording import NOT_ANALYSED_HEADLINE, counted, headline, plainly, series_description
from tests.support.reported import SHAPE, findings, lesion

NOTHING = np.zeros(SHAPE, bool)
SUSPECTED = findings(lesion())


@pytest.mark.parametrize(
    ("result", "in_part", "said"),
    [
        (replace(SUSPECTED, volume_ml=76.6), "", "ICH SUSPECTED 77 mL, research only"),
        (replace(SUSPECTED, volume_ml=4.94), "", "ICH SUSPECTED 4.9 mL, research only"),
        (replace(SUSPECTED, volume_ml=0.04), "", "ICH SUSPECTED <0.1 mL, research only"),
        (replace(SUSPECTED, volume_ml=76.6), "a gap", "ICH SUSPECTED 77 mL, research only"),
        (findings(NOTHING), "", "ICH SUSPECTED, research only"),
        (findings(NOTHING, suspected=False), "", "ICH not suspected, research only"),
        (
            findings(NOTHING, suspected=False, uncertain=True),
            "",
            "ICH not suspected, uncertain, research only",
        ),
        (
            findings(NOTHING, suspected=False),
            "a gap",
            "ICH NOT ANALYSED, read as usual, research only",
        ),
    ],
    ids=[
        *("suspected", "small", "tiny", "in part", "not outlined", "not suspected"),
        *("uncertain", "read in part, nothing suspicious"),
    ],
)
def test_a_series_description_begins_with_the_verdict(result, in_part, said) -> None:
    assert series_description(headline(result, in_part), replaces=False) == said


def test_a_result_that_replaces_one_says_so_after_its_verdict() -> None:
    said = series_description(NOT_ANALYSED_HEADLINE, replaces=True)
    assert said == "ICH NOT ANALYSED, read as usual, replaces older, research only"


def test_the_longest_series_description_fits_its_vr() -> None:
    huge = replace(SUSPECTED, volume_ml=1234.5, uncertain=True)
    for head in (headline(huge), NOT_ANALYSED_HEADLINE):
        assert len(series_description(head, replaces=True)) <= 64  # PS3.5 6.2, LO


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence_of_its_own_that_asks_to_read_as_usual(reason: Reason) -> None:
    said = plainly(reason)
    assert said.endswith(". Read this study as usual.")
    assert reason not in said and said.isascii()
    assert [plainly(other) for other in Reason].count(said) == 1


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 studies, 0 cases were"), (1, "1 study, 1 case was"), (12, "12 studies, 12 cases were")],
)
def test_one_is_not_several(number: int, said: str) -> None:
    assert f"{counted(number, 'study')}, {counted(number, 'case was', 'cases were')}" == said
    assert counted(number, "image") == f"{number} image" + "s" * (number != 1)
