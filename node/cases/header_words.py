"""What the words of a header say of an image: body part, contrast, kernel, kind. Pure.

`node.cases.vocabulary` knows the words of many languages. The lists of words here are an estimate
of what headers contain; nothing was counted in archives.
"""

import re
from enum import IntEnum

from node.cases.vocabulary import ELSEWHERE, HEAD, contrast_words, denies_agent, folded, names
from node.records import Header
from node.settings import Assemble

_LOCALISER = re.compile(r"locali[sz]er|scout|topogram|surview|scanogram", re.I)
_RENDERED = re.compile(r"mpr|mip|minip|reformat|projection|curved|vrt|volume.?render|screen", re.I)
_RENDERED_WORD = re.compile(r"(?<![a-zäöü])(mpr|mip|minip|vrt)(?![a-zäöü])", re.I)
_BONE = re.compile(r"(?<![a-zäöü])(bone|knochen|os)(?![a-zäöü])", re.I)
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


class Contrast(IntEnum):
    """What a header says of contrast agent; what speaks more for an agent is greater."""

    NONE = 0
    """The header names no agent, or denies one."""

    UNCLEAR = 1
    """The header names an agent and denies it."""

    AGENT = 2
    """The header names an agent or a phase with agent."""


def contrast(header: Header, settings: Assemble) -> Contrast:
    """Return what the agent field and the series description say together.

    The protocol and the study description do not count: they describe the whole examination, whose
    first series is the plain one.
    """
    agent = header.contrast_agent
    named = bool(agent) and not denies_agent(agent)
    said, denied = contrast_words(
        header.series_description,
        settings.words_with_contrast,
        settings.words_without_contrast,
    )
    if named or said:
        return Contrast.UNCLEAR if denied else Contrast.AGENT
    return Contrast.NONE


def body_part(header: Header, settings: Assemble) -> tuple[bool | None, str]:
    """Return whether the header names a head (None: it names no body part), and its words.

    The most specific attribute that names a body part decides; "head and neck" contains a head. A
    site's own words count before the built-in ones.
    """
    for words in (
        header.series_description,
        header.body_part,
        header.protocol_name,
        header.study_description,
    ):
        plain = folded(words)
        for is_head, found in (
            (True, names(settings.words_head, words)),
            (False, names(settings.words_elsewhere, words)),
            (True, HEAD.search(plain)),
            (False, ELSEWHERE.search(plain)),
        ):
            if found:
                return is_head, words
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
