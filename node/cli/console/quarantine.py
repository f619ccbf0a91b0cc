"""What `ichnode quarantine` says: the list of entries, one object, and what became of it."""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.table import Table

from node.arrive.quarantine import Decided, Examined
from node.cli.console.terminal import outside
from node.visible import visible
from node.worklist import Quarantined

_LONG = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b|\b((?:\d+\.){4}\d{1,8})[\d.]{12,}")
"""A SHA-256, or a UID, and its beginning."""


def quarantine_table(entries: Sequence[Quarantined]) -> Table:
    """Return the entries of quarantine as a table: what was set aside alike is one line.

    It is made for 80 columns; `quarantine show` and `--json` have the UIDs and digests.
    """
    table = Table(expand=False)
    table.add_column("number", overflow="fold", max_width=9)
    table.add_column("code,\nsince (UTC)", no_wrap=True)
    table.add_column("patient,\naccession", overflow="fold", max_width=20)
    for name in ("why it is here", "from,\ndecision"):
        table.add_column(name, overflow="fold")
    for alike in _groups(entries):
        first = alike[0]
        others = len({entry.reason for entry in alike}) > 1
        table.add_row(
            _ranges([entry.number for entry in alike]),
            f"{first.code}\n{first.at:%m-%d %H:%M}",
            outside(first.patient_id or "-")
            .append("\n")
            .append(outside(first.accession_number or "-")),
            outside(f"{_short(first.reason)}{' (others differ)' if others else ''}"),
            outside(first.caller or "-").append("\n").append(outside(_decision(first))),
        )
    return table


def _short(reason: str) -> str:
    """Return a reason without whole digests and UIDs, which fill lines and help nobody."""
    return _LONG.sub(lambda found: f"{found[1] or found[2]}…", reason)


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


def quarantined_object(found: Examined) -> str:
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


def _conflicts(found: Examined) -> list[tuple[str, str]]:
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
    return "\n".join(f"{name:<18}  {visible(value)}" for name, value in lines)


def decided(result: Decided, what: str) -> str:
    """Return what became of one object, in a line."""
    number = result.entry.number
    if result.stays is not None:
        return f"{number} stays in quarantine: {result.stays}"
    return f"{number} {what}{': ' if result.note else ''}{result.note}"
