"""The words of headers: which say a head, another part of the body, or a contrast agent. Pure.

The lists are an estimate of what headers contain; nothing was counted in archives. A site adds its
own words in the settings. All is compared after `folded`: no word here has a capital or an accent.
"""

import re
import unicodedata
from functools import cache

_LETTER = r"[^\W\d_]"
_START, _END = f"(?<!{_LETTER})", f"(?!{_LETTER})"
_GAP = r"[\s./()-]*"


def _words(*words: str) -> str:
    return "(?:" + "|".join(words) + ")"


def _whole(pattern: str) -> str:
    """Return the pattern of a word that is no part of a longer one."""
    return _START + pattern + _END


# --- body parts: stems, then words that may not be part of longer ones ---------------------------

HEAD = re.compile(
    _words(
        r"head|brain|skull|crani|cerebr|cerebel|neuro|stroke|ncct|encephal|encefal|enzephal",
        r"kopf|sch(?:ae|a)del|hirn|cerveau|testa|cervello|cabeza|cabeca|cerebro",
        r"hoofd|hersen|schedel|huvud|hjarn|skall|hjern|hoved|hjaern",
        r"kallo|aivo|glow[aye]|mozg|mozk|mozek|hlav[aye]|leb(?:ka|ky)|koponya|creier|beyin|kafa",
        "голов|мозг|череп|εγκεφαλ|κεφαλ|κρανι|頭部|头部|頭蓋|颅|脑|脳|腦|두부|뇌",
        _whole(_words("cct|tete|crane|craneo|cranio|fej|agy|paa|hode|ictus")),
    )
)
ELSEWHERE = re.compile(
    _words(
        r"chest|thora|torax|toracic|lung|pulmon|poumon|polmon|abdom|addom|pelvi|liver|spine|spinal",
        r"cervical|lumbar|lombair|lombar|lumbal|rachis|wirbel|wervel|columna|coluna|kregosl|ryggrad",
        r"neck|hals|cuello|pescoco|cardiac|coronar|koronar|aort|extremit|facial|sinus|orbit|dental",
        r"mandib|maxill|petrous|felsenbein|temporal bone|becken|bekken|bacino|bassin",
        r"shoulder|schulter|epaule|spalla|hombro|ombro|schouder|skulder",
        _whole(_words("hips?|knees?|foot|feet|ankles?|wrists?|hands?|elbows?|legs?|arms?|ears?")),
        _whole(_words("faces?|bauch|buik|brzuch|bricho|collo|colonna|herz|coeur|cuore|corazon")),
        _whole(_words("hws|bws|lws|nnh|knie|genou|ginocchio|rodilla|joelho|hufte|huefte|hanche")),
    )
)

# --- contrast agent ------------------------------------------------------------------------------

_SPINE = r"(?![\s./-]*(?:sp\b|spn\b|spin|s\b|t\b|l\b|col|cerv|wirbel|ws\b))"
"""The C of "C spine", "C-sp", "C/T/L": no contrast agent."""

_AGENT = _words(
    r"[ck]ontra+st\w*|contr?|con|km|cm|mdc|pdc|civ|c|i\.?\s?v|enh\w*|inje\w*|inye\w*|iniez\w*|dye",
    r"gado\w*|bolus\w*|agents?|medi\w*|varjoaine\w*|контраст\w*|σκιαγραφ\w*",
    r"any|the|use|of|de|del|di|mezzo|meio|moyen|produit|iod\w*|yod\w*|jod\w*|intraven\w*|endoven\w*",
)
"""What may follow a word that denies."""

_DENIED = f"(?:{_GAP}{_AGENT}{_END}{_SPINE})"

_WITHOUT = _words(
    # These deny an agent even if they stand alone.
    _START
    + _words(
        r"without|w/o(?:ut)?|w\.\s?o\.?|wo(?:ut)?|sin|sem|senza|sans|ohne|zonder|utan|uten|uden"
    )
    + f"{_END}{_DENIED}*",
    _whole(_words("bez|ilman|nelkul|fara|без|χωρις")) + f"{_DENIED}*",
    rf"\(\s?-\s?\){_DENIED}*",
    # These must be followed by what they deny.
    _START
    + _words(r"non?|not|nao|ne|nem|nie|keine?n?|geen|ingen|inget|aucune?|nessun|zero|w o")
    + f"{_DENIED}+",
    _START + _words("pre|prae|vor|voor|avant|prima|antes|un|s\\s?[/.]") + f"{_DENIED}+",
    _START + r"o\.?\s?(?:km|kontrast\w*)" + _END,
    # These are denied by what follows.
    _START
    + r"(?:[ck]ontrast\w*|km|cm|c|iv)\s?"
    + _words(
        r"\(\s?-\s?\)",
        rf"-(?=\s|[)/]|$){_SPINE}",
        r"[:=(\s-]\s?(?:no|none|neg\w*|nil|nein|nee|free|less|not given|0)(?!\w)",
    ),
    r"kontrast(?:mittel)?(?:frei|los|fri|siz)\w*",
    _START + rf"(?<!\w)-\s?c(?!\w){_SPINE}",
    # These are names of the plain scan.
    _whole(
        _words(r"plain|nati(?:v|f|ef)\w*|nec?ct|nc|ncc?t|ncect|blanco|simple|dirett[ao]|basale")
    ),
    _START + "basal" + _END + r"(?!\s?(?:gang|cist|nuc))",
)

_WITH = _words(
    r"[ck]ontra+st|контраст|σκιαγραφ|varjoaine|perfu[sz]|bolus|arteri[ae]l|ven(?:ous|os|oes|eu)",
    r"delayed|enhanced|enhancement|injec|inyec|iniett|injizier",
    _START + r"(?:ct|mr)?angio",
    _whole(_words("cta|ctv|ctp|ce|cect|km|mdc|civ|contr")),
    rf"{_START}c\s?\+(?!\w)",
    rf"\+\s?(?:c|km|iv|cm)(?!\w){_SPINE}",
    rf"{_START}(?:iv|cm)\s?\+(?!\w)",
    _START
    + _words("with|w|mit|con|com|avec|met|med|post|nach|c")
    + rf"[\s/.]+(?:i\.?\s?v|c|cm|con|inj)(?!\w){_SPINE}",
    # "With and without": what denies is a mark by then.
    _START
    + _words("with|w|mit|con|com|avec|met|med")
    + r"[\s/&+]*(?:and|or|und|et|[yeou])?[\s/&+]*¤",
)

_MARK = "¤"
_NO_AGENT = re.compile(
    r"(?:none?|no|nil|null|nein|nej|nee|kein\w*|ingen|inget|geen|ninguno?|nessuno?|aucune?|nao|nie"
    r"|without|w/?o|ohne|sans|sin|sem|senza|zonder|utan|bez|n\.?/?a\.?|not \w+|unknown|false|n|off)"
    r"(?!\w)(?![\s-]*ion).*"
    r"|0+(?:[.]0*)?\s?(?:ml|cc|g|mg|l)?(?:\s.*)?|\W*"
)


def folded(text: str) -> str:
    """Return the text in small letters without accents, its joined words apart."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    letters = unicodedata.normalize("NFKD", apart).casefold()
    bare = "".join(c for c in letters if not unicodedata.combining(c))
    plain = bare.translate(str.maketrans("øłıđ−–—‐‑^_,;\\", "olid-----     "))
    return " ".join(plain.replace("æ", "ae").split())


@cache
def _site(words: tuple[str, ...]) -> re.Pattern[str] | None:
    """Return a pattern of a site's own words, longest first; None if there is none."""
    ordered = sorted(map(folded, words), key=len, reverse=True)
    whole = "|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in ordered)
    return re.compile(whole) if whole else None


def names(words: tuple[str, ...], text: str) -> bool:
    """Return whether the text has one of a site's own words, as a word of its own."""
    site = _site(words)
    return bool(site and site.search(folded(text)))


def contrast_words(
    text: str, with_agent: tuple[str, ...] = (), without: tuple[str, ...] = ()
) -> tuple[bool, bool]:
    """Return whether the text says "with contrast agent", and whether it says "without".

    Parameters
    ----------
    with_agent, without
        A site's own words. They count before the built-in ones.
    """
    left, found = folded(text), [False, False]
    for index, pattern in ((0, _site(with_agent)), (1, _site(without)), (1, _BUILT_IN_WITHOUT)):
        if pattern is not None:
            # Only what denies leaves a mark: "with and without" needs it.
            left, count = pattern.subn(_MARK if index else " ", left)
            found[index] |= count > 0
    found[0] |= bool(_BUILT_IN_WITH.search(left))
    return found[0], found[1]


def denies_agent(agent: str) -> bool:
    """Return whether the words of an agent field say that no agent was given."""
    said, denied = contrast_words(agent)
    return bool(_NO_AGENT.fullmatch(folded(agent))) or (denied and not said)


_BUILT_IN_WITHOUT = re.compile(_WITHOUT)
_BUILT_IN_WITH = re.compile(_WITH)
