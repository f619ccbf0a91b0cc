"""Triage: the planned series becomes a volume, the volume findings, the findings a priority."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models.findings import Findings, Unreadable
from models.volume import Volume
from node.case_folder import CaseFolder
from node.cases.clearance import IN_PART, forbidding, of_pixels
from node.cases.covers import Covers, covers
from node.cases.quality import brain_mm2, gate, measure
from node.dicom.read.pixels import Decoder
from node.errors import Refused
from node.outcomes import Triaged
from node.records import SeriesPlan, Unseen
from node.states import Priority, Reason

if TYPE_CHECKING:
    from models.detector import Detector


def triage(
    plan: SeriesPlan, detector: "Detector", *, folder: CaseFolder, decode: Decoder
) -> Triaged:
    """Leave the findings of the planned series, and the plan as it was read, in the case `folder`.

    Raises
    ------
    Refused
        If the pixels cannot be decoded, are not Hounsfield values or show no brain.
    """

    def decoded(part: SeriesPlan) -> Volume:
        return decode(part, folder.root)

    folder.write_plan_as_read(plan)
    series = covers(plan, decoded)
    folder.write_plan_as_read(series.plan)  # a report may follow though nothing can be read
    readings, unread = _read_all(series, detector, decoded)
    told = max(readings, key=_suspicion)  # the first one of equals
    known = (*series.limitations(unread), *told.findings.limitations)
    findings = replace(told.findings, limitations=known)
    folder.write_plan_as_read(series.speaking(told.plan))
    folder.save_findings(findings)
    against = (*series.unseen, *unread, *(one for each in readings for one in each.against))
    return _triaged(findings, told.plan, tuple(dict.fromkeys(against)))


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the detector found in one cover of the series, and what forbids to clear it."""

    plan: SeriesPlan
    findings: Findings
    against: tuple[Unseen, ...]


def _suspicion(reading: _Reading) -> tuple[bool, float, float]:
    found = reading.findings
    return found.suspected, found.probability, found.volume_ml


def _read_all(
    series: Covers, detector: "Detector", decoded: Callable[[SeriesPlan], Volume]
) -> tuple[list[_Reading], list[Unseen]]:
    """Return the readings of the covers, and the covers that could not be read.

    Raises
    ------
    Refused
        If none can be read: the reason of the first.
    """
    readings, refusals = [], []
    for cover in series.covers:
        try:
            volume = decoded(cover) if series.volume is None else series.volume
            readings.append(_read(cover, volume, detector))
        except Refused as reason:
            refusals.append(reason)
    if not readings:
        raise refusals[0]
    unread = [f"one cover of the head could not be read: {why}" for why in refusals]
    return readings, [Unseen(Reason.DUPLICATE_POSITION, said, forbids=True) for said in unread]


def _read(plan: SeriesPlan, volume: Volume, detector: "Detector") -> _Reading:
    """Return what the detector finds in the volume of the plan's slices."""
    try:
        slabs, canvas = detector.preprocess(volume)
    except Unreadable as reason:
        raise Refused(Reason.UNREADABLE, str(reason)) from reason
    limitations = gate(measure(slabs, canvas), names_contrast=plan.names_contrast)
    findings = detector.state_findings(volume, slabs, canvas, detector.infer(canvas))
    findings = replace(findings, limitations=tuple(each.sentence for each in limitations))
    brain = brain_mm2(canvas)[slabs.of_slice]
    missing = (*plan.unseen, *of_pixels(limitations, plan.continued))
    return _Reading(plan, findings, forbidding(missing, lambda index: bool(brain[index] > 0)))


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
        operating_point=findings.operating_point,
        limitations=(*plan.limitations, *findings.limitations),
    )
