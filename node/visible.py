"""Text from outside, as it may be shown.

A peer, a file or a medium can send characters that move a terminal's cursor, end a line, hide
themselves or turn the reading direction. `visible` puts a sign in the place of each. What is
stored, sent or printed as JSON stays as it came.
"""

import unicodedata

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "\N{SYMBOL FOR DELETE}"}
"""Unicode has a picture of each control character of ASCII: ESC is shown as U+241B."""


def visible(text: str) -> str:
    """Return the text as one line that shows every character and obeys none.

    Control characters, format characters (the bidirectional ones among them), line and paragraph
    separators and lone surrogates are replaced one for one. Everything else stays as it is.
    """
    return text if text.isprintable() else "".join(map(_sign, text))


def _sign(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return _PICTURES.get(ord(character), REPLACEMENT)
