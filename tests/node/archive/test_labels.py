"""The labeller on its synthetic sentences and reports, and rule by rule."""

from hashlib import sha256
from pathlib import Path

import pytest

from node.archive.labels import Answer, Label, Labeller, vocabularies
from node.errors import BadConfiguration
from tests.support.labelled import (
    BEGIN,
    DOCUMENT,
    END,
    FOLDER,
    SETS,
    examples,
    figures,
    label_of,
    labeller,
)

FROZEN = {
    "frozen_sentences.csv": "9813ed3629e3e93ca33d56460837d6a5f519954edec0a523c5b4184bdf66bfdb",
    "frozen_reports.toml": "3342610efeb2ae24d6b43897fdf5f76dd41601dd46c7b8b140df1054c11ae7eb",
}
EXAMPLES = [each for which in SETS for each in examples(which)]
WRONG = {"t046"}
"""What the labeller is still mistaken in; docs/archive.md counts it."""


@pytest.mark.parametrize(("name", "digest"), FROZEN.items())
def test_the_frozen_half_is_as_it_was_before_there_was_a_rule(name: str, digest: str) -> None:
    assert sha256((FOLDER / name).read_bytes()).hexdigest() == digest


def test_there_are_three_hundred_sentences_and_sixty_reports_and_no_name_twice() -> None:
    halves = [*examples("frozen"), *examples("later")]
    assert sum(not each.is_report for each in halves) >= 300
    assert sum(each.is_report for each in halves) >= 60
    assert len({each.name for each in EXAMPLES}) == len(EXAMPLES)
    assert len({each.text for each in EXAMPLES}) == len(EXAMPLES)


def test_the_labeller_is_wrong_where_it_is_known_to_be_and_nowhere_else() -> None:
    assert {each.name for each in EXAMPLES if each.now != each.right} == WRONG


def test_the_figures_in_the_documentation_are_those_of_the_labeller() -> None:
    """If this fails, look at what changed, then run python -m tests.label_table."""
    text = DOCUMENT.read_text("utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == figures()


def test_no_label_is_without_its_sentence_and_each_sentence_stands_in_the_report() -> None:
    for each in EXAMPLES:
        label = label_of(each.text)
        assert label.rule
        assert label.sentence or label.answer is Answer.CANNOT_TELL, each.name
        assert label.sentence in " ".join(each.text.split()), each.name


def test_the_expected_sentence_decides_in_nearly_every_report() -> None:
    wanted = [each for each in EXAMPLES if each.decided and each.now == each.right]
    other = [each.name for each in wanted if each.decided not in label_of(each.text).sentence]
    assert other == ["F02", "T08"]


def label(text: str) -> Label:
    return labeller().label(text)


@pytest.mark.parametrize(
    ("first", "second", "answer"),
    [
        ("Findings: Stable chronic subdural hematoma.", "No acute hemorrhage.", Answer.BLEEDS),
        ("Findings: Acute subdural hematoma.", "No acute hemorrhage.", Answer.CANNOT_TELL),
        ("Findings: Acute subdural hematoma.", "No hemorrhage.", Answer.NONE),
        ("Findings: No hemorrhage.", "Acute subdural hematoma.", Answer.BLEEDS),
    ],
)
def test_the_impression_outranks_the_findings_as_far_as_it_speaks(
    first: str, second: str, answer: Answer
) -> None:
    assert label(f"{first}\nImpression: {second}").answer is answer


def test_what_contradicts_an_impression_is_named() -> None:
    found = label("Findings: Acute subdural hematoma.\nImpression: No acute hemorrhage.")
    assert found.sentence == "No acute hemorrhage."
    assert '"Acute subdural hematoma."' in found.rule


def test_the_rule_names_the_words_that_it_rests_on() -> None:
    found = label("There is no evidence of hemorrhage.")
    assert found == Label(
        Answer.NONE,
        "There is no evidence of hemorrhage.",
        'negated: "no evidence of"',
        "en",
    )


@pytest.mark.parametrize("text", ["", " \n\t", "...", "1234 5678", "\N{SNOWMAN}" * 50])
def test_a_text_that_says_nothing_is_no_label(text: str) -> None:
    assert (label(text).answer, label(text).sentence) == (Answer.CANNOT_TELL, "")


def test_a_letter_and_its_accent_are_read_as_one() -> None:
    decomposed = "Akutes Subduralha\N{COMBINING DIAERESIS}matom links."
    assert label(decomposed).answer is Answer.BLEEDS


def test_a_long_text_without_an_end_is_read_in_reasonable_time() -> None:
    for text in (
        "no " * 50_000,
        "subdural " * 50_000,
        "a" * 200_000,
        "1. " * 50_000,
        ":\n" * 50_000,
    ):
        label(text)


def test_headings_within_a_line_are_headings() -> None:
    found = label("History: bleed. Findings: Normal ventricles. Impression: No hemorrhage.")
    assert found.sentence == "No hemorrhage."


@pytest.mark.parametrize(
    "text",
    [
        "Seen by Dr. Miller, approx. 10:30 a.m. in the scanner. No hemorrhage",
        "- No fracture\n- No hemorrhage\n- No mass",
        "1. No fracture. 2. No hemorrhage 3) No mass",
        "The ventricles are normal in size and there is\nno hemorrhage",
    ],
)
def test_sentences_are_found_in_lists_lines_and_among_abbreviations(text: str) -> None:
    found = label(text)
    assert found.answer is Answer.NONE
    assert "hemorrhage" in found.sentence and "fracture" not in found.sentence


def test_words_of_ones_own_are_added_to_those_that_are_known(tmp_path: Path) -> None:
    text = "Cannot commit to a subdural hematoma."
    assert label(text).answer is Answer.BLEEDS
    more = tmp_path / "more.toml"
    more.write_text('language = "en"\n[before]\ndoubted = ["cannot commit to"]\n')
    assert Labeller(vocabularies([more])).label(text).answer is Answer.CANNOT_TELL


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[before]\nnegated = []", "does not say its language"),
        ('language = "en"\n[before]\nnegatde = ["none of"]', "no list 'negatde'"),
        ('language = "en"\n[befor]\nnegated = ["none of"]', "no such table"),
        ('language = "en"\n[before]\nnegated = "none of"', "no list of phrases"),
        ('language = "en"\n[before]\nnegated = ["{nobody}"]', "nobody"),
        ('language = "en"\n[before]\nnegated = [""]', "no list of phrases"),
        ('language = "en"\nbefore = 3', "no table"),
        ("language = ", "cannot be read"),
    ],
)
def test_a_vocabulary_that_would_be_of_no_use_is_an_error(
    tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "more.toml"
    file.write_text(content)
    with pytest.raises(BadConfiguration, match=said):
        vocabularies([file])


@pytest.mark.parametrize(
    "text",
    [
        "CT of the head without contrast demonstrates an acute subdural hematoma.",
        "CT without IV contrast: subdural hematoma.",
        "Im CT ohne Kontrastmittel Subduralhämatom.",
        "TC sin contraste: hematoma subdural agudo.",
        "Patient not anticoagulated, with subdural hematoma.",
        "No mass, subdural hematoma is noted.",
        "Subdural hematoma, midline shift resolved.",
        "Subdural hematoma, mass effect: none.",
        "SDH with no mass effect.",
        "Subduralhämatom, keine Raumforderung.",
        "No hydrocephalus despite intraventricular hemorrhage.",
        "No intervention was required for the subdural hematoma.",
        "No ventricular extension of the left thalamic hemorrhage.",
        "Kein Ventrikeleinbruch der Stammganglienblutung links.",
        "No hay desviación de línea media a pesar del hematoma subdural izquierdo.",
    ],
)
def test_what_is_denied_beside_a_hemorrhage_does_not_deny_it(text: str) -> None:
    assert label(text).answer is Answer.BLEEDS


@pytest.mark.parametrize(
    "text",
    [
        "The study does not show hemorrhage.",
        "I do not see any hemorrhage.",
        "The hyperdensity is calcification, not a hemorrhage.",
        "Hemorrhage, mass and midline shift are not seen.",
        "The hematoma, 8 mm on the prior study, has resolved.",
        "Hemorrhage: None.",
        "No acute abnormality.",
        "Keine akute Pathologie.",
        "Postoperative changes with no new or residual hemorrhage.",
        "No subdural hematoma or subarachnoid hemorrhage.",
        "Das CT zeigt keine Blutung.",
        "La TC no muestra hemorragia.",
    ],
)
def test_a_hemorrhage_is_denied_by_verbs_lists_and_single_words(text: str) -> None:
    assert label(text).answer is Answer.NONE
