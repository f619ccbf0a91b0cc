"""The worklist as people see it in a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from node.states import Priority
from node.wording import RESEARCH_USE_ONLY, UNCERTAIN
from node.worklist import Quarantined, Row

if TYPE_CHECKING:
    from node.arrive.quarantine import Decided, Examined
    from node.cases.explain import Explanation, Told

LOOKS = {
    Priority.SUSPECTED: ("▲ SUSPECTED", "bold black on #e69f00"),
    Priority.NOT_ANALYSED: ("■ NOT ANALYSED", "bold white on #0072b2"),
    Priority.PENDING: ("… PENDING", ""),
    Priority.NOT_SUSPECTED: ("○ NOT SUSPECTED", "dim"),
}
"""A word, a shape and a colour-blind-safe colour (Okabe and Ito); never colour alone."""

SUBTYPE_SHOWN = 0.5
"""A subtype is named from this probability up; chosen."""


ABBREVIATIONS = {
    "epidural": "EDH",
    "intraparenchymal": "IPH",
    "intraventricular": "IVH",
    "subarachnoid": "SAH",
    "subdural": "SDH",
}


def worklist_table(rows: Sequence[Row]) -> Table:
    """Return the worklist, in its order, as a table."""
    table = Table(title=RESEARCH_USE_ONLY, title_style="bold", expand=False)
    for name in ("priority", "patient"):
        table.add_column(name, no_wrap=True)
    table.add_column("subtype or reason", overflow="fold")
    for name in ("mL", "prob.", "door to\nflag, s", "sent"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            _priority(row),
            row.patient_id,
            row.reason or _subtypes(row),
            _number(row.volume_ml, 1),
            _number(row.probability, 2),
            _number(row.door_to_flag_s, 1),
            _deliveries(row),
        )
    return table


def _priority(row: Row) -> Text:
    uncertain = [("\n? UNCERTAIN", "bold")] if row.uncertain else []
    prior = ["\nprior"] if row.prior else []
    aside = [f"\n{row.quarantined} set aside"] if row.quarantined else []
    return Text.assemble(LOOKS[row.priority], *uncertain, *prior, *aside)


def _subtypes(row: Row) -> str:
    named = [ABBREVIATIONS[name] for name, p in row.subtypes.items() if p >= SUBTYPE_SHOWN]
    return ", ".join(named) if row.priority is Priority.SUSPECTED else ""


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _deliveries(row: Row) -> str:
    if not row.deliveries:
        return "-"
    sent = sum(delivery.status == "SENT" for delivery in row.deliveries)
    return f"{sent}/{len(row.deliveries)}"


def summary(study: Mapping[str, Any]) -> str:
    """Return one study's object of `ichnode analyse` in a few lines of text."""
    lines = [f"{LOOKS[study['priority']][0]}  study {study['study_instance_uid']}"]
    if study["reason"]:
        lines.append(f"  {study['reason']}")
    if study["probability"] is not None:
        lines.append(
            f"  probability {study['probability']:.2f}, volume {study['volume_ml'] or 0:.1f} mL, "
            f"{study['bundle']}"
        )
        lines += [f"  {name}: {p:.2f}" for name, p in study["subtypes"].items()]
    if study["uncertain"]:
        lines.append(f"  {UNCERTAIN} ({study['uncertainty']:.2f})")
    if study["key_slice_sop_instance_uid"]:
        lines.append(f"  look first at {study['key_slice_sop_instance_uid']}")
    return "\n".join(lines)


def explained(told: "Explanation") -> Group:
    """Return why a study's series are read or not, and its time budget, as a page."""
    heading = Text.assemble(LOOKS[told.priority], f"  study {told.study_instance_uid}")
    heading.append(f", accession {told.accession_number or '-'}, case {told.case_id}")
    aside = f"{told.quarantined} objects of this study are in quarantine: it may be incomplete"
    return Group(
        Text(RESEARCH_USE_ONLY, "bold"),
        heading,
        *([Text(aside, "bold")] if told.quarantined else ()),
        _series_table(told),
        _time_table(told),
    )


def _series_table(told: "Explanation") -> Table:
    table = Table(expand=False, show_lines=True)
    table.add_column("", no_wrap=True)
    for name in ("series", "why"):
        table.add_column(name, overflow="fold")
    names = {one.series_instance_uid: one.description for one in told.series}
    for one in told.series:
        table.add_row(TAKEN[one.taken], _described(one), _why(one, names))
    return table


TAKEN = {True: Text("▶ read", "bold"), False: Text("– not read"), None: Text("… undecided")}


def _described(one: "Told") -> str:
    facts = (
        f"{one.images} images",
        f"{one.thickness_mm:.1f} mm thick" if one.thickness_mm else "",
        f"over {one.coverage_mm:.0f} mm" if one.coverage_mm else "",
        f"kernel {one.kernel}" if one.kernel else "",
        "\\".join(one.image_type),
        "contrast agent" if one.contrast else "",
    )
    said = ", ".join(fact for fact in facts if fact)
    return f"{one.description or 'without a description'}\n{said}\n{one.series_instance_uid}"


def _why(one: "Told", names: Mapping[str, str]) -> str:
    lines = []
    if one.decision:
        lines.append(one.decision)
    elif one.reason:
        lines.append(f"{one.reason_code}: {one.reason}" if one.reason_code else one.reason)
    if one.lost_to:
        lines.append(f"lost to {names[one.lost_to.to_series]!r} by: {one.lost_to.line}")
    if one.closed_at and one.closed_by and one.saved_s is not None:
        sooner = f", {one.saved_s:.1f} s before the idle timer" if one.saved_s else ""
        lines.append(f"closed at {one.closed_at:%H:%M:%S} UTC{sooner}: {one.closed_by}")
    lines += [f"limitation: {text}" for text in one.limitations]
    for case in one.cases:
        older = f", supersedes case {case.supersedes}" if case.supersedes else ""
        lines.append(f"case {case.case_id}: {case.state}, {case.priority}{older}")
    return "\n".join(lines)


def _time_table(told: "Explanation") -> Table:
    table = Table(expand=False)
    for name in ("step", "at (UTC)"):
        table.add_column(name)
    table.add_column("seconds", justify="right")
    for step in told.time_budget:
        table.add_row(step.step, f"{step.at:%Y-%m-%d %H:%M:%S}", f"{step.seconds:.2f}")
    table.add_row("door to flag", "", _number(told.door_to_flag_s, 2), style="bold")
    return table


def quarantine_table(entries: Sequence[Quarantined]) -> Table:
    """Return the entries of quarantine as a table: what was set aside alike is one line."""
    table = Table(expand=False)
    table.add_column("number", overflow="fold")
    table.add_column("objects", justify="right")
    for name in ("since (UTC)", "code"):
        table.add_column(name, no_wrap=True)
    for name in ("study", "why it is here", "from", "decision"):
        table.add_column(name, overflow="fold")
    for alike in _groups(entries):
        first = alike[0]
        others = len({entry.reason for entry in alike}) > 1
        table.add_row(
            _ranges([entry.number for entry in alike]),
            str(len(alike)),
            f"{first.at:%Y-%m-%d %H:%M}",
            first.code,
            first.study_instance_uid or "-",
            f"{first.reason}{' (others differ)' if others else ''}",
            first.caller or "-",
            _decision(first),
        )
    return table


def _groups(entries: Sequence[Quarantined]) -> list[list[Quarantined]]:
    def kind(entry: Quarantined) -> tuple[str, ...]:
        return entry.study_instance_uid or "", entry.code, entry.caller, _decision(entry)

    alike = [list(group) for _, group in groupby(sorted(entries, key=kind), kind)]
    return sorted(alike, key=lambda group: group[0].number)


def _ranges(numbers: Iterable[int]) -> str:
    """Return numbers as people write them: 3-5, 9."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _decision(entry: Quarantined) -> str:
    if entry.decision is None or entry.decided_at is None:
        return "open"
    why = f": {entry.why}" if entry.why else ""
    return f"{entry.decision} by {entry.decided_by} on {entry.decided_at:%Y-%m-%d %H:%M}{why}"


def quarantined_object(found: "Examined") -> str:
    """Return what `ichnode quarantine show` says of one object."""
    entry, header = found.entry, found.header
    lines = [
        ("number", f"{entry.number}, {_decision(entry)}"),
        ("code", entry.code),
        ("reason", entry.reason),
        ("received", f"{entry.at:%Y-%m-%d %H:%M:%S} UTC from {entry.caller or 'a file'}"),
        ("file", f"{entry.stored.path}, {entry.stored.size} bytes, sha256 {entry.stored.sha256}"),
    ]
    if header is None:
        return _aligned([*lines, ("its bytes", found.unreadable or "")])
    lines += [
        ("PatientID", header.patient_id),
        ("PatientBirthDate", header.patient_birth_date),
        ("StudyInstanceUID", header.study_instance_uid),
        ("SeriesInstanceUID", header.series_instance_uid),
        ("SOPInstanceUID", header.sop_instance_uid),
        ("image", f"{header.modality} {header.series_description!r}, {header.instance_number}"),
    ]
    return _aligned([*lines, *_conflicts(found)])


def _conflicts(found: "Examined") -> list[tuple[str, str]]:
    standing = found.standing
    if standing is None or standing.study_instance_uid is None:
        return [("in the worklist", "nothing of its study or series")]
    lines = [("in the worklist", f"study {standing.study_instance_uid}")]
    lines += [
        ("", f"{keyword} there {filed!r}, here {here!r}")
        for keyword, (filed, here) in standing.differs.items()
    ]
    if standing.sha256 == found.entry.stored.sha256:
        lines.append(("", "these very bytes are filed"))
    elif standing.sha256:
        lines.append(("", f"filed under its SOPInstanceUID: sha256 {standing.sha256}"))
    return lines


def _aligned(lines: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"{name:<18}  {value}" for name, value in lines)


def decided(result: "Decided", what: str) -> str:
    """Return what became of one object, in a line."""
    number = result.entry.number
    if result.stays is not None:
        return f"{number} stays in quarantine: {result.stays}"
    return f"{number} {what}{': ' if result.note else ''}{result.note}"
