"""Triage: the planned series becomes a volume, the reader's findings, and a priority."""

from pathlib import Path
from typing import TYPE_CHECKING

from models.findings import Findings, Unreadable
from node.dicom.pixels import load_volume
from node.errors import NotAnalysed
from node.records import Outcome, SeriesPlan
from node.states import Priority, Reason, State

if TYPE_CHECKING:
    from models.reader import Reader


def triage(plan: SeriesPlan, reader: "Reader", *, root: Path, folder: Path) -> Outcome:
    """Read the planned series and leave findings.json and mask.npz in the case `folder`.

    Raises
    ------
    NotAnalysed
        If the pixels cannot be decoded, are no Hounsfield values, or show no brain.
    """
    volume = load_volume(plan, root)
    try:
        findings = reader.read(volume)
    except Unreadable as reason:
        raise NotAnalysed(Reason.UNREADABLE, str(reason)) from reason
    findings.save(folder)
    return _outcome(findings, plan)


def _outcome(findings: Findings, plan: SeriesPlan) -> Outcome:
    key = findings.key_slice
    return Outcome(
        state=State.TRIAGED,
        priority=Priority.SUSPECTED if findings.suspected else Priority.NOT_SUSPECTED,
        probability=findings.probability,
        uncertainty=findings.uncertainty,
        uncertain=findings.uncertain,
        volume_ml=findings.volume_ml,
        subtypes=findings.subtypes,
        key_slice_sop_instance_uid=None if key is None else plan.slices[key].sop_instance_uid,
        bundle=findings.bundle,
        limitations=plan.limitations,
    )
