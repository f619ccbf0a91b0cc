"""What headers say of body part and contrast agent, in the spellings of many sites."""

from dataclasses import replace

import pytest

from node.cases.header_words import Contrast, body_part, contrast
from node.errors import BadConfiguration
from node.outcomes import NotAnalysed
from node.records import Header
from node.settings import Assemble, load
from node.states import Reason, State
from tests.support.builder import HEAD, alone, series

SETTINGS = Assemble()
BARE = series(HEAD).instances[0].header


def described(words: str, agent: str = "") -> Header:
    return replace(BARE, series_description=words, contrast_agent=agent)


def said(words: str, agent: str = "", settings: Assemble = SETTINGS) -> Contrast:
    return contrast(described(words, agent), settings)


WITHOUT = """
HEAD WO CONTRAST|CRANEO SIN CONTRASTE|HERSENEN ZONDER CONTRAST|CT HEAD W/O IV CONTRAST|HEAD WOUT|
HEAD W/OUT CONTRAST|HEAD W.O. CONTRAST|HeadWOContrast|head_wo_contrast|HEAD^WO^CONTRAST|HEAD NO IV|
HEAD NON-CON|HEAD NONCON|NON CONTRAST HEAD|HEAD NONCONTRAST|HEAD NO CONTRAST|HEAD C-|HEAD -C|
HEAD (-)|HEAD (-) CONTRAST|HEAD CONTRAST (-)|HEAD CONTRAST: NONE|HEAD CONTRAST-FREE|
TC CRANEO S/C|TC craneo s.c.|TC CRANEO S/CONTRASTE|CRANEO SIMPLE|sin medio de contraste|
CABECA SEM CONTRASTE|TESTA SENZA MDC|senza mezzo di contrasto|CRANE SANS INJECTION|
TDM sans produit de contraste|KOPF OHNE KM|Kopf o.KM|Kopf ohne i.v. Kontrastmittel|KM-|CCT NATIV|
vor KM|Schedel blanco|SKALLE UTAN KONTRAST|HOVED UDEN KONTRAST|HODE UTEN KONTRAST|
PÄÄ ILMAN VARJOAINETTA|CT mozku bez kontrastu|Beyin kontrastsız|без контраста|HEAD PRECONTRAST|
HEAD pre IV|HEAD UNENHANCED|HEAD non enhanced|NCCT|without any iodinated contrast|5mm WO|
native head|Head C\N{MINUS SIGN}
"""
WITH = """
HEAD C+|HEAD +C|HEAD + C|Head (C+)|HEAD w/ contrast|HEAD POST CONTRAST|CCT mit KM|nach KM|KM+|+KM|
HEAD WITH CONTRAST|CRANEO CON CONTRASTE|CRANEO C/C|com contraste|avec injection|met contrast|
CT mozku s kontrastem|z kontrastem|med kontrast|Head CTA 1.0|CTAngio|Brain Perfusion|HEAD POST IV|
CT HEAD W/IV|CECT HEAD|enhanced head|delayed|arterial phase|crâne injecté
"""
BOTH = """
W/O AND W/ CONTRAST|W/WO CONTRAST|WITH AND WITHOUT CONTRAST|CON Y SIN CONTRASTE|MIT UND OHNE KM|
con e senza mdc|avec et sans injection|C-/C+|CTA HEAD WO
"""
NEITHER = """
Head+CSpine 5mm|HEAD+C SPINE|HEAD + C-SPINE|Head+C-Sp|HEAD/C-SPINE|Head+C/T/L|Trauma Head + C Spine|
HEAD + CERVICAL|Head C- Spine|Head 5.0 H31s|basal ganglia|Head 5 cm
"""


def each(words: str) -> list[str]:
    return [word.strip() for word in words.split("|")]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        *((word, Contrast.NONE) for word in each(WITHOUT)),
        *((word, Contrast.AGENT) for word in each(WITH)),
        *((word, Contrast.UNCLEAR) for word in each(BOTH)),
        *((word, Contrast.NONE) for word in each(NEITHER)),
    ],
)
def test_a_description_says_with_or_without_agent(words: str, meant: Contrast) -> None:
    assert said(words) is meant


@pytest.mark.parametrize("words", each(WITHOUT))
def test_what_denies_an_agent_contradicts_a_field_that_names_one(words: str) -> None:
    assert said(words, "Iomeprol 400") is Contrast.UNCLEAR


@pytest.mark.parametrize(
    "agent",
    each(
        "NONE|NO|N/A|NA|n.a.|-|--|(-)|*|WITHOUT|W/O|KEIN|keine|0|0 ml|0.0ML|0cc|0 ML OMNIPAQUE|NIL|"
        "None given|NO IV|No contrast|NoContrast|SIN CONTRASTE|ohne KM|geen|ingen|bez kontrastu|"
        "Not given|not applicable|unenhanced|nativ|False|NONE^"
    ),
)
def test_an_agent_field_that_denies_an_agent_names_none(agent: str) -> None:
    assert said("Head 5.0", agent) is Contrast.NONE


@pytest.mark.parametrize(
    "agent",
    each(
        "Iomeprol 400|OMNIPAQUE 350|NON-IONIC|Nonionic 100ml|CONTRAST|YES|100 ML|0.5 ml|IV|Iodine"
    ),
)
def test_an_agent_field_that_names_an_agent_is_contrast(agent: str) -> None:
    assert said("Head 5.0", agent) is Contrast.AGENT


@pytest.mark.parametrize(
    "words",
    each(
        "HEAD|Schädel|SCHAEDEL|Crâne|TÊTE|cráneo|HERSENEN ZONDER CONTRAST|HOOFD|Hjärna|głowy|mozku|"
        "Koponya|Beyin|головного мозга|頭部|Pää|Encéfalo|CABEÇA|Testa|Head+CSpine 5mm|Head & Neck|"
        "CCT nativ|cerveau"
    ),
)
def test_a_head_is_a_head_in_many_languages(words: str) -> None:
    assert body_part(described(words), SETTINGS) == (True, words)


@pytest.mark.parametrize(
    "words", each("Neck 3.0|C-SPINE|HWS|TÓRAX|Bauch|Wirbelsäule|NNH 2.0|colonna|rachis cervical")
)
def test_another_part_of_the_body_is_none(words: str) -> None:
    assert body_part(described(words), SETTINGS) == (False, words)


def test_words_of_no_body_part_leave_it_to_the_next_attribute() -> None:
    header = replace(described("Surface 5.0 H31s"), body_part="", protocol_name="Hjerne")
    assert body_part(header, SETTINGS) == (True, "Hjerne")


# --- a site's own words --------------------------------------------------------------------------


def test_a_sites_own_words_come_before_the_built_in_ones() -> None:
    site = Assemble(
        words_with_contrast=("phase two",),
        words_without_contrast=("Bolus dry", "CTA leer"),
        words_head=("HK", "neckloc brain"),
        words_elsewhere=("skull base to knee",),
    )
    assert said("Head PHASE TWO", settings=site) is Contrast.AGENT
    assert said("Head bolus DRY", settings=site) is Contrast.NONE
    assert said("Head cta leer", settings=site) is Contrast.NONE
    assert said("Head cta leer mit KM", settings=site) is Contrast.UNCLEAR
    assert body_part(described("hk 5.0"), site)[0] is True
    assert body_part(described("HKL neck"), site)[0] is False
    assert body_part(described("Skull base to knee"), site)[0] is False


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('words_head = ["x"]', "is no word"),
        ('words_head = ["  "]', "is no word"),
        ('words_with_contrast = ["12"]', "is no word"),
        ('words_with_contrast = ["Dry"]\nwords_without_contrast = ["dry"]', "stands both in"),
        ('words_head = ["HK"]\nwords_elsewhere = ["hk"]', "stands both in"),
    ],
)
def test_words_that_mean_nothing_or_two_things_stop_the_start(
    line: str, message: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("settings") / "ichnode.toml"
    path.write_text(f"[assemble]\n{line}\n")
    with pytest.raises(BadConfiguration, match=message):
        load(path)


# --- all the way to the decision -----------------------------------------------------------------

CONTRADICTED = "the header names a contrast agent and denies it: vessels may look like blood"


@pytest.mark.parametrize(
    "words",
    [
        "HEAD WO CONTRAST",
        "CRANEO SIN CONTRASTE",
        "HERSENEN ZONDER CONTRAST",
        "Head+CSpine 5mm",
        "HEAD+C SPINE",
        "CT HEAD W/O IV CONTRAST",
        "CT mozku bez kontrastu",
    ],
)
def test_a_plain_head_is_read_whatever_its_language(words: str) -> None:
    outcome, plan = alone(series(HEAD(description=words)))
    assert (outcome.state, outcome.limitations) == (State.ASSEMBLED, ())
    assert plan is not None and not plan.names_contrast


def test_a_header_that_contradicts_itself_is_read_with_that_limitation() -> None:
    head = HEAD(description="Head w/o contrast").having(ContrastBolusAgent="Iomeprol 400")
    outcome, plan = alone(series(head))
    assert (outcome.state, outcome.limitations) == (State.ASSEMBLED, (CONTRADICTED,))
    assert plan is not None and plan.names_contrast


def test_contrast_is_refused_with_the_words_that_say_so() -> None:
    outcome, _ = alone(series(HEAD(description="Cráneo con contraste")))
    assert isinstance(outcome, NotAnalysed)
    assert outcome.reason_code == Reason.CONTRAST
    assert "'Cráneo con contraste'" in outcome.reason
