"""What reports say of studies: `labels.csv`, under the pseudonyms of its accession numbers."""

from collections.abc import Mapping
from dataclasses import dataclass

from node.archive.labels import Labelled, Labeller, label_rows, read_reports, vocabularies
from node.archive.proof import Proof
from node.errors import BadConfiguration, Permanent


@dataclass(frozen=True, slots=True)
class LabelOf:
    """What the report of one accession number says.

    Attributes
    ----------
    answer
        "bleeds", "none" or "cannot tell".
    sentence, rule
        What decided.
    patient
        The PatientID as the table has it; "" if it has none.
    lines
        Where it stands in the table.
    """

    answer: str
    sentence: str
    rule: str
    patient: str
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Labels:
    """A table of labels.

    Attributes
    ----------
    by_accession
        By the accession number's pseudonym.
    rows
        How many rows the table has.
    problems
        What a person should look at, a sentence a row.
    """

    by_accession: Mapping[str, LabelOf]
    rows: int
    encoding: str
    problems: tuple[str, ...]


def read_labels(proof: Proof) -> Labels | None:
    """Return the labels of a proof; None if it has no table of them.

    A table of reports will do as well: what has no label is labelled by the rules of
    `ichnode archive label`.

    Raises
    ------
    Permanent
        If the table cannot be read, or has no column of accession numbers or of labels.
    BadConfiguration
        If the proof has no key, or the table lies outside of its secret.
    """
    beside = proof.root / proof.labels.name
    if beside.exists() and not proof.labels.exists():
        raise BadConfiguration(
            f"{beside} has real accession numbers and sentences of reports: move it to "
            f"{proof.labels}, where it is read"
        )
    if not proof.labels.exists():
        return None
    try:
        data = proof.labels.read_bytes()
    except OSError as error:
        raise Permanent(f"{proof.labels} cannot be read: {error.strerror}") from error
    table = read_reports(data, proof.labels.name)
    names = proof.pseudonyms()
    found: dict[str, LabelOf] = {}
    problems = []
    for one in label_rows(table.rows, Labeller(vocabularies(()))):
        if one.problem:
            problems.append(f"{_lines(one.lines)} of {proof.labels.name}: {one.problem}")
        if one.accession:
            found[names.accession(one.accession)] = _label_of(one)
    return Labels(found, len(table.rows), table.encoding, tuple(problems))


def _label_of(one: Labelled) -> LabelOf:
    label = one.label
    return LabelOf(label.answer.value, label.sentence, label.rule, one.patient, one.lines)


def _lines(lines: tuple[int, ...]) -> str:
    return f"line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines))}"
