"""The syntax of HL7 v2: frames, segments, delimiters and escapes, in and out."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from node.errors import Permanent
from node.visible import visible

START, END = b"\x0b", b"\x1c\r"
"""The frame of a message (HL7 v2 Transport Specification: MLLP, release 1, 2.2)."""
ENCODINGS = {"ASCII": "ascii", "8859/1": "latin-1", "UNICODE UTF-8": "utf-8"}
"""Codecs by MSH-18 (HL7 table 0211)."""
_ESCAPES = {"\\": "E", "|": "F", "^": "S", "&": "T", "~": "R"}
"""HL7 v2.5.1, 2.7.1."""
_ESCAPED = str.maketrans({sign: f"\\{letter}\\" for sign, letter in _ESCAPES.items()})

Field = str | tuple[str, ...]
"""The text of a field, or of its components; without delimiters, which `segment` adds."""


class Malformed(Permanent):
    """The bytes are no HL7 v2 message, or lack what their kind needs."""


def segment(name: str, fields: Mapping[int, Field]) -> str:
    """Return a segment of these fields by number; what they hold is text and nothing else."""
    held = (_escaped(fields.get(number, "")) for number in range(1, max(fields) + 1))
    return "|".join((name, *held)).rstrip("|")


def header(fields: Mapping[int, Field]) -> str:
    """Return MSH; MSH-1 and MSH-2 are the delimiters."""
    # MSH-1 is the separator itself, so that what follows it stands a place further left.
    shifted = {number - 1: field for number, field in fields.items()}
    return segment("MSH", {1: "", **shifted}).replace("MSH|", r"MSH|^~\&", 1)


def _escaped(field: Field) -> str:
    parts = (field,) if isinstance(field, str) else field
    return "^".join(visible(part).translate(_ESCAPED) for part in parts).rstrip("^")


def control_id(key: str) -> str:
    """Return MSH-10, 20 characters, from the key of a message: 100 bits of its SHA-256."""
    return base64.b32encode(hashlib.sha256(key.encode()).digest())[:20].decode()


def timestamp(at: datetime) -> str:
    """Return a time as TS in UTC: YYYYMMDDHHMMSS+0000."""
    return at.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")


_MOMENT = re.compile(r"(\d{8})(\d{4})?(\d\d)?(?:\.\d{1,4})?([+-]\d{4})?")


def moment(text: str) -> datetime | None:
    """Return the time that a TS says (HL7 v2.5.1, 2.A.75), None where it says none to the day.

    Without a zone it is this machine's.
    """
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        return None
    day, minute, second, zone = found.groups()
    said = f"{day}T{minute or '0000'}{second or '00'}{zone or ''}"
    try:
        return datetime.fromisoformat(said).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class Received:
    """A message that was received, by its own delimiters."""

    segments: tuple[tuple[str, ...], ...]
    """The fields of each segment, by number; of MSH too, whose first is the separator."""
    component: str
    repetition: str
    escape: str
    subcomponent: str

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Read a message without its frame.

        Raises
        ------
        Malformed
            If it does not begin with a whole MSH.
        """
        text = _decoded(data)
        if not text.startswith("MSH") or len(text) < 8 or text[3].isalnum():
            raise Malformed("it does not begin with MSH")
        separator, component, repetition, escape, subcomponent = list(text[3:8])
        lines = [line for line in re.split("[\r\n]+", text) if line]
        rows = [tuple(line.split(separator)) for line in lines]
        rows[0] = ("MSH", separator, *rows[0][1:])
        return cls(tuple(rows), component, repetition, escape, subcomponent)

    def field(self, name: str, number: int) -> list[list[str]]:
        """Return the components of each repetition of a field of the first such segment, as text.

        An absent field is one repetition of one empty component. A null value ("") is empty too.
        """
        row = next((row for row in self.segments if row[0] == name), ())
        raw = row[number] if number < len(row) else ""
        return [
            [self._text(part) for part in each.split(self.component)]
            for each in raw.split(self.repetition)
        ]

    def value(self, name: str, number: int, component: int = 1) -> str:
        """Return a component of the first repetition of a field; "" if it is absent."""
        parts = self.field(name, number)[0]
        return parts[component - 1] if component <= len(parts) else ""

    def identifier(self, name: str, number: int, assigner: str = "") -> str:
        """Return the identifier (CX) that `assigner` gave, the first where it is ""; else ""."""
        given = self.field(name, number)
        if not assigner:
            return given[0][0]
        return next((each[0] for each in given if each[3:4] == [assigner]), "")

    def date(self, name: str, number: int) -> str:
        """Return the day of a TS as YYYYMMDD; "" if it is absent or none."""
        day = self.value(name, number)[:8]
        return day if len(day) == 8 and day.isascii() and day.isdigit() else ""

    def free_text(self, raw: str) -> str:
        """Return what a field of free text holds (TX, FT, ST), with its line breaks.

        Nothing is taken for a delimiter but the repetition, which begins a line: many senders leave
        "^" and "&" in a text as they are. Formatting other than line breaks is left out.
        """
        sign = re.escape(self.escape)
        lines = raw.split(self.repetition)
        return "\n".join(
            re.sub(f"{sign}([^{sign}]*){sign}", self._resolved, line) for line in lines
        )

    def _resolved(self, escape: re.Match[str]) -> str:
        """Return the text of one escape sequence (HL7 v2.5.1, 2.7)."""
        code = escape[1]
        delimiters = {
            "F": self.segments[0][1],
            "S": self.component,
            "T": self.subcomponent,
            "R": self.repetition,
            "E": self.escape,
        }
        if code in delimiters:
            return delimiters[code]
        if re.fullmatch("X([0-9A-Fa-f]{2})+", code):
            return bytes.fromhex(code[1:]).decode("latin-1")
        if code.startswith((".br", ".sp", ".ce")):
            return "\n"
        return "" if code in ("H", "N") or code.startswith(".") else escape[0]

    def has(self, name: str) -> bool:
        """Return whether there is such a segment."""
        return any(row[0] == name for row in self.segments)

    def _text(self, raw: str) -> str:
        """Return the text of the first subcomponent, its escapes resolved."""
        first = raw.split(self.subcomponent)[0].strip()
        signs = {letter: sign for sign, letter in _ESCAPES.items()}
        pattern = f"{re.escape(self.escape)}([^{re.escape(self.escape)}]*){re.escape(self.escape)}"
        text = re.sub(pattern, lambda match: signs.get(match[1], " "), first)
        return "" if text == '""' else text


def _decoded(data: bytes) -> str:
    """Return the text, by MSH-18 where it names a codec of ours; else UTF-8, else Latin-1."""
    first = data.split(b"\r", 1)[0].decode("latin-1")
    fields = first.split(first[3]) if len(first) > 3 else []
    named = ENCODINGS.get(fields[17].split(first[5])[0]) if len(fields) > 17 else None
    for codec in (named, "utf-8"):
        try:
            return data.decode(codec or "utf-8")
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")
