"""Triage: the planned series becomes a volume, the volume findings, the findings a priority."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from models.findings import Findings, Unreadable
from node.case_folder import CaseFolder
from node.cases.clearance import IN_PART, forbidding, of_pixels
from node.cases.quality import brain_mm2, gate, measure
from node.dicom.read.pixels import Decoder
from node.errors import Permanent, Refused
from node.outcomes import Triaged
from node.records import SeriesPlan, Unseen
from node.states import Priority, Reason

if TYPE_CHECKING:
    from models.detector import Detector


def triage(
    plan: SeriesPlan, detector: "Detector", *, folder: CaseFolder, decode: Decoder
) -> Triaged:
    """Leave the findings of the planned series in the case `folder`.

    Raises
    ------
    Refused
        If the pixels cannot be decoded, are not Hounsfield values or show no brain.
    Permanent
        If an image is no longer on disk.
    """
    try:
        volume = decode(plan, folder.root)
    except FileNotFoundError as lost:
        name = Path(str(lost.filename)).name
        raise Permanent(f"{name}: is on disk no more; send the series again") from lost
    try:
        slabs, canvas = detector.preprocess(volume)
    except Unreadable as reason:
        raise Refused(Reason.UNREADABLE, str(reason)) from reason
    limitations = gate(measure(slabs, canvas), names_contrast=plan.names_contrast)
    findings = detector.state_findings(volume, slabs, canvas, detector.infer(canvas))
    findings = replace(findings, limitations=tuple(each.sentence for each in limitations))
    folder.save_findings(findings)
    brain = brain_mm2(canvas)[slabs.of_slice]
    missing = (*plan.unseen, *of_pixels(limitations))
    against = forbidding(missing, lambda index: bool(brain[index] > 0))
    return _triaged(findings, plan, against)


def _triaged(findings: Findings, plan: SeriesPlan, against: Sequence[Unseen]) -> Triaged:
    key = findings.key_slice
    priority = Priority.SUSPECTED if findings.suspected else Priority.NOT_SUSPECTED
    code = reason = None
    if against and not findings.suspected:
        priority = Priority.NOT_ANALYSED
        code = against[0].code
        reason = f"{IN_PART}; {'; '.join(one.message for one in against)}"
    return Triaged(
        priority=priority,
        reason_code=code,
        reason=reason,
        probability=findings.probability,
        uncertainty=findings.uncertainty,
        uncertain=findings.uncertain,
        volume_ml=findings.volume_ml,
        subtypes=findings.subtypes,
        key_slice_sop_instance_uid=None if key is None else plan.slices[key].sop_instance_uid,
        bundle=findings.bundle,
        limitations=(*plan.limitations, *findings.limitations),
    )
