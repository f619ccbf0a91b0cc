"""What the words of a header say of an image: body part, contrast, kernel, kind. Pure.

The lists of words are an estimate of what headers contain; nothing was counted in archives.
"""

import re

from node.records import Header

_WORD = r"(?<![a-zäöü]){}(?![a-zäöü])"
_LOCALISER = re.compile(r"locali[sz]er|scout|topogram|surview|scanogram", re.I)
_RENDERED = re.compile(r"mpr|mip|minip|reformat|projection|curved|vrt|volume.?render|screen", re.I)
_RENDERED_WORD = re.compile(_WORD.format("(mpr|mip|minip|vrt)"), re.I)
_HEAD = re.compile(
    r"head|brain|skull|crani|cereb|neuro|stroke|ncct|kopf|sch(ae|ä)del|hirn|t[eê]te|cr[aâ]ne|"
    r"testa|cabeza|hoofd|huvud|hjern",
    re.I,
)
_ELSEWHERE = re.compile(
    r"chest|thora|lung|abdom|pelvi|liver|spine|cervical|lumbar|neck|hals|cardiac|coronary|aort|"
    r"shoulder|extremit|face|facial|sinus|orbit|dental|mandib|maxill|petrous|temporal bone|"
    + _WORD.format("(hips?|knees?|foot|feet|ankles?|wrists?|hands?|elbows?|legs?|arms?|ears?)"),
    re.I,
)
_NO_AGENT = re.compile(r"(none|no|without|w/?o|ohne|sans|sin)( .*)?|n/?a|-+|0", re.I)
_CONTRAST = re.compile(
    r"contrast|angio|perfusion|bolus|arterial|venous|delayed|enhanced|c\+|\+c|"
    + _WORD.format("(cta|ctv|ctp|ce|km)"),
    re.I,
)
_NO_CONTRAST = re.compile(
    r"without|w/o|non.?contrast|no contrast|non.?enhanced|un.?enhanced|pre.?contrast|nati(v|f)|"
    r"plain|ncct|ohne|sans|c-(?![a-z])",
    re.I,
)
_BONE = re.compile(_WORD.format("(bone|knochen|os)"), re.I)
_SHARP_KERNEL = re.compile(
    r"bone|edge|lung|sharp|knochen|"  # GE and others in words
    r"^[bhuj][a-z]{0,2}[6-9]\d|"  # Siemens: H60s, B70f, Hr64
    r"^fc(3[01]|8\d)|"  # Canon
    r"^(d|e|l|ec|yc|yd|ye)$",  # Philips
    re.I,
)


def is_sharp(header: Header) -> bool:
    """Whether the image was made for bone or lung, by its kernel or its description."""
    return bool(
        _SHARP_KERNEL.search(header.convolution_kernel.strip())
        or _BONE.search(header.series_description)
    )


def has_contrast(header: Header) -> bool:
    """Whether the header names a contrast agent or a contrast phase.

    The protocol and the study description do not count: they describe the whole examination, whose
    first series is the plain one.
    """
    agent = header.contrast_agent
    if agent and not _NO_AGENT.fullmatch(agent):
        return True
    words = header.series_description
    return bool(_CONTRAST.search(words)) and not _NO_CONTRAST.search(words)


def body_part(header: Header) -> tuple[bool | None, str]:
    """Return whether the header names a head (None: it names no body part), and its words.

    The most specific attribute that names a body part decides; "head and neck" contains a head.
    """
    for words in (
        header.series_description,
        header.body_part,
        header.protocol_name,
        header.study_description,
    ):
        if _HEAD.search(words):
            return True, words
        if _ELSEWHERE.search(words):
            return False, words
    return None, ""


def is_localiser(header: Header) -> bool:
    """Whether the image shows where the slices of another series lie."""
    return bool(_LOCALISER.search(" ".join((*header.image_type, header.series_description))))


def is_rendered(header: Header) -> bool:
    """Whether the image was computed from other images, as a projection or a reformat is."""
    return bool(
        _RENDERED_WORD.search(header.series_description)
        or _RENDERED.search("\\".join(header.image_type))
        or header.image_type[1:2] == ("SECONDARY",)
    )
