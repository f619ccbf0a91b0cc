"""Each study's outcome beside the label of its report, and what could not be put together."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from node.archive.evidence.found import Found, read_found
from node.archive.evidence.labelled import LabelOf, Labels, read_labels
from node.archive.evidence.outcomes import Outcome, read_outcomes
from node.archive.evidence.owners import read_owners
from node.archive.proof import Proof
from node.wording import counted

UNLABELLED = "no label"
MOST_NAMED = 10
"""So many problems of one kind are told one by one. Chosen."""


@dataclass(frozen=True, slots=True)
class Study:
    """One study that was read, and what its report says."""

    outcome: Outcome
    label: LabelOf | None

    @property
    def name(self) -> str:
        """Its pseudonym."""
        return self.outcome.study

    @property
    def says(self) -> str:
        """What the report says: "bleeds", "none", "cannot tell" or "no label"."""
        return self.label.answer if self.label else UNLABELLED


@dataclass(frozen=True, slots=True)
class Joined:
    """What a proof knows.

    Attributes
    ----------
    studies
        In the order of their pseudonyms.
    found
        The catalogue, if there is one.
    labels
        How many rows the table of labels has, and how many of its accession numbers have a study;
        None without a table.
    remarks
        What does not fit together, in sentences.
    """

    studies: tuple[Study, ...]
    found: Found | None
    labels: tuple[int, int] | None
    remarks: tuple[str, ...]


def read_joined(proof: Proof) -> Joined:
    """Return what a proof knows of each of its studies. Nothing is written.

    Raises
    ------
    Permanent
        If a file cannot be read, or no study was read.
    """
    found = read_found(proof)
    outcomes = read_outcomes(proof)
    labels = read_labels(proof)
    if labels is None:
        remarks = [
            f"there is no {proof.labels.relative_to(proof.root)}, so no report's label is known: "
            "ichnode archive label writes it"
        ]
        studies = {name: Study(one, None) for name, one in outcomes.items()}
    else:
        studies, remarks = _put_together(outcomes, labels, read_owners(proof))
        remarks = [*_few(labels.problems, f"rows of {proof.labels.name}"), *remarks]
    in_order = tuple(studies[name] for name in sorted(studies))
    return Joined(in_order, found, _counted(labels, in_order), tuple(remarks))


def _counted(labels: Labels | None, studies: tuple[Study, ...]) -> tuple[int, int] | None:
    if labels is None:
        return None
    used = {study.outcome.accession for study in studies if study.label}
    return labels.rows, len(used)


def _put_together(
    outcomes: Mapping[str, Outcome], labels: Labels, owners: Mapping[str, str]
) -> tuple[dict[str, Study], list[str]]:
    """Return the studies with their labels, and what was not put together."""
    patients: dict[str, set[str]] = {}
    sharing: Counter[str] = Counter()
    for one in outcomes.values():
        patients.setdefault(one.accession, set()).add(one.patient)
        sharing[one.accession] += 1
    ambiguous, other = [], []
    studies = {}
    for name, one in outcomes.items():
        label = labels.by_accession.get(one.accession) if one.accession else None
        if label and len(patients[one.accession]) > 1:
            ambiguous.append(f"study {name}: its accession number is that of another patient, too")
            label = None
        elif label and _is_of_another(label, owners.get(name, "")):
            other.append(f"study {name}: the report with its accession number is another patient's")
            label = None
        studies[name] = Study(one, label)
    unused = set(labels.by_accession) - {one.accession for one in outcomes.values()}
    shared = sum(
        count
        for accession, count in sharing.items()
        if count > 1 and accession in labels.by_accession and len(patients[accession]) == 1
    )
    remarks = [
        *_few(ambiguous, "studies without the label of their accession number"),
        *_few(other, "studies without the label of their accession number"),
    ]
    if shared:
        studies_share = counted(shared, "study shares", "studies share")
        remarks.append(f"{studies_share} an accession number, and so the label of a report")
    if unused:
        remarks.append(
            f"{len(unused)} of {len(labels.by_accession)} accession numbers of the labels belong "
            "to no study that was read"
        )
    return studies, remarks


def _is_of_another(label: LabelOf, owner: str) -> bool:
    return bool(label.patient and owner) and label.patient.strip() != owner.strip()


def _few(told: list[str] | tuple[str, ...], what: str) -> list[str]:
    more = len(told) - MOST_NAMED
    return [*told[:MOST_NAMED], *([f"and {more} more {what}"] if more > 0 else [])]
