"""The worklist as people see it in a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from node.dicom.wording import RESEARCH_USE_ONLY, UNCERTAIN
from node.states import Priority
from node.worklist.store import Row

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
    return Text.assemble(LOOKS[row.priority], *uncertain)


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
