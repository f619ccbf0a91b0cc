"""What a result says in sentences, for the structured report and the plain one alike."""

from models.findings import Findings
from models.side import Side
from node.dicom.write.slices import called, first_look
from node.dicom.write.source import Source
from node.wording import (
    NOT_OUTLINED,
    RESEARCH_USE_ONLY,
    UNCERTAIN,
    millilitres,
    ranked,
    replacement,
)


def verdict_remarks(source: Source, findings: Findings) -> list[str]:
    """Return what must be read together with the verdict."""
    in_part = source.plan.in_part
    doubt = f"{UNCERTAIN} ({findings.uncertainty:.2f})" if findings.uncertain else ""
    return [text for text in (doubt, in_part) if text]


def numbers(source: Source, findings: Findings, side: Side | None) -> list[str]:
    """Return what was measured, each with its name: probability, volume, side, types, slice."""
    lines = [_probability(findings)]
    if findings.suspected and findings.mask.any():
        lines.append(f"Outlined volume: {millilitres(findings.volume_ml)}")
    elif findings.suspected:
        lines.append(NOT_OUTLINED)
    if side is not None:
        lines.append(f"Side of the patient: {side} (of the outline, by the skull)")
    if findings.subtypes:
        types = ", ".join(f"{name} {value:.2f}" for name, value in ranked(findings))
        lines.append(f"Probability of each type: {types}")
    if name := called(source, source.plan.slices[first_look(findings)]):
        lines.append(f"Slice to look at first: {name} of series {_series(source)}")
    return lines


def remarks(source: Source) -> list[str]:
    """Return what follows every result: what it replaces, the study's scans, research use."""
    older = source.plan.replaces
    why = [replacement(older.later_images, withdrawn=older.withdrawn)] if older else []
    return [*why, *source.plan.scans, RESEARCH_USE_ONLY]


def mimics(findings: Findings) -> list[str]:
    """Return what a marked region looks like instead of blood, a sentence each."""
    return [f"May look like blood: {text}" for text in findings.mimics]


def limitations(source: Source) -> list[str]:
    """Return the limitations of the images, a sentence each."""
    return [f"Limitation: {text}" for text in source.plan.limitations]


def _probability(findings: Findings) -> str:
    said = f"Probability of hemorrhage: {findings.probability:.3f}"
    point, name = findings.operating_point, findings.operating_point_name
    called = f', operating point "{name}"' if name else ""
    return said if point is None else f"{said} (suspected from {point:.3f} on{called})"


def _series(source: Source) -> str:
    """Return the SeriesNumber of the source, or its UID if it has none."""
    number = source.first.get("SeriesNumber")
    return source.plan.series_instance_uid if number is None else str(number)
