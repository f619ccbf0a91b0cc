"""The text of a file whose encoding nobody tells.

The rule, in this order: what a byte order mark says (UTF-8, UTF-16, UTF-32); UTF-16 if every second
of the first bytes is zero; UTF-8 if the whole file is that; else Windows-1252, and Latin-1 if a
byte has no meaning there.
"""

import codecs

from node.errors import Permanent

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, with whose mark it begins
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
"""How .xlsx and .xls begin."""
_LOOKED_AT = 200
"""Bytes at the beginning that tell UTF-16 without a mark. Chosen."""


def decoded(data: bytes, name: str) -> tuple[str, str]:
    """Return the text of a file, and the name of its encoding.

    Raises
    ------
    Permanent
        If it is a workbook and no text, or its byte order mark promises an encoding that it does
        not keep to.
    """
    if data.startswith(_WORKBOOKS):
        raise Permanent(f"{name} is a workbook (Excel) and no text: save the table as CSV")
    told = next((codec for mark, codec in _MARKS if data.startswith(mark)), None) or _bare_utf16(
        data
    )
    for codec in (told,) if told else ("utf-8", "cp1252", "latin-1"):
        try:
            return data.decode(codec), codec
        except UnicodeDecodeError as error:
            where = error.start
    raise Permanent(f"{name} begins as {told} and is damaged at byte {where}: export it once more")


def _bare_utf16(data: bytes) -> str | None:
    start = data[: _LOOKED_AT - _LOOKED_AT % 2]
    even, odd = start[::2], start[1::2]
    if len(even) > 1 and even.count(0) == 0 and odd.count(0) > len(odd) * 0.7:
        return "utf-16-le"
    if len(even) > 1 and odd.count(0) == 0 and even.count(0) > len(even) * 0.7:
        return "utf-16-be"
    return None
