"""Which column of a table holds what, by the names that exports give them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.archive.labels.phrases import fold
from node.errors import Permanent

_LISTED = {
    "accession": "accession accessionnumber accessionno accessionnr acc accno accnr auftragsnummer "
    "untersuchungsnummer anforderungsnummer numerodeacceso numeroacceso",
    "text": "text report reporttext fullreport narrative befundtext textodelinforme "
    "informecompleto",
    "label": "label",
    "sentence": "sentence",
    "rule": "rule",
    "patient": "patient patientid pid mrn patientennummer patientenid paciente idpaciente nhc",
    "date": "date reportdate reporttime datetime reportdatetime befunddatum datum fecha "
    "fechainforme fechadelinforme signedat finalizedat",
}
NAMES: Mapping[str, frozenset[str]] = {
    role: frozenset(names.split()) for role, names in _LISTED.items()
}
"""Names by what they hold, in small letters without accents, spaces and signs."""
PARTS = frozenset(
    {"findings", "impression", "conclusion", "addendum", "befund", "beurteilung", "nachtrag"}
    | {"hallazgos", "informe", "impresion", "adenda"}
)
"""Columns that each hold one section of a report; the name is the section's heading."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a table has what; the numbers count from 0."""

    accession: int
    text: int | None
    label: int | None
    sentence: int | None
    rule: int | None
    patient: int | None
    date: int | None
    parts: tuple[tuple[str, int], ...]
    """Heading and number of each column that holds a section."""
    width: int


def plain(name: str) -> str:
    """Return a column's name in small letters without accents, spaces and signs."""
    return "".join(letter for letter in fold(name).lower() if letter.isalnum())


def known_names(header: Sequence[str], said: Mapping[str, str]) -> int:
    """Return how many of a header's names are known: the right delimiter gives the most."""
    named = set().union(*NAMES.values(), PARTS, map(plain, said.values()))
    return sum(plain(name) in named for name in header)


def columns_of(header: Sequence[str], said: Mapping[str, str], file: str) -> Columns:
    """Return what stands where.

    Parameters
    ----------
    header
        The names of the columns.
    said
        Names that a person gave, by what they hold; they go before those that are known.

    Raises
    ------
    Permanent
        If there is no accession number, nothing to label, or two columns for one thing.
    """
    if unknown := next((role for role in said if role not in NAMES), None):
        raise Permanent(f"nothing is called {unknown!r}: {', '.join(NAMES)}")
    at = {role: _only(role, header, said.get(role), file) for role in NAMES}
    parts = tuple((name, i) for i, name in enumerate(header) if plain(name) in PARTS)
    names = ", ".join(name.strip() for name in header)
    accession = at["accession"]
    if accession is None:
        raise Permanent(
            f"{file}: no column is called accession; its columns are: {names}. "
            "Say which it is: --column accession=NAME"
        )
    if at["text"] is None and at["label"] is None and not parts:
        raise Permanent(
            f"{file}: no column holds a report or a label; its columns are: {names}. "
            "Say which it is: --column text=NAME, or --column label=NAME"
        )
    others = {role: number for role, number in at.items() if role != "accession"}
    return Columns(accession, parts=parts, width=len(header), **others)


def _only(role: str, header: Sequence[str], said: str | None, file: str) -> int | None:
    wanted = NAMES[role] if said is None else {plain(said)}
    found = [number for number, name in enumerate(header) if plain(name) in wanted]
    if len(found) > 1:
        names = " and ".join(header[number].strip() for number in found)
        raise Permanent(f"{file}: both {names} may be the {role}: --column {role}=NAME says which")
    if said is not None and not found:
        names = ", ".join(name.strip() for name in header)
        raise Permanent(f"{file}: there is no column {said!r}; its columns are: {names}")
    return found[0] if found else None
