"""The worklist as a table."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from node.cli.console.terminal import outside
from node.states import Priority
from node.wording import RESEARCH_USE_ONLY
from node.worklist import Row

PRIORITY_STYLES = {
    Priority.SUSPECTED: ("▲ SUSPECTED", "bold black on #e69f00"),
    Priority.NOT_ANALYSED: ("■ NOT ANALYSED", "bold white on #0072b2"),
    Priority.PENDING: ("… PENDING", ""),
    Priority.NOT_SUSPECTED: ("○ NOT SUSPECTED", "dim"),
}
WITHDRAWN_STYLE = ("⊘ WITHDRAWN", "bold white on #0072b2")
"""A word with a shape, and a style with a colour-blind-safe colour (Okabe and Ito)."""

SUBTYPE_SHOWN = 0.5
"""A subtype is named from this probability up: there it is likelier present than absent."""

ABBREVIATIONS = {
    "epidural": "EDH",
    "intraparenchymal": "IPH",
    "intraventricular": "IVH",
    "subarachnoid": "SAH",
    "subdural": "SDH",
}


EMPTY = "no study in the worklist"
"""What is said instead of an empty table."""


def worklist_table(rows: Sequence[Row], more: int = 0) -> Table:
    """Return the worklist, in its order, as a table.

    Parameters
    ----------
    more
        How many further studies are not shown.
    """
    caption = f"and {more} more" if more else None
    table = Table(title=RESEARCH_USE_ONLY, title_style="bold", expand=False, caption=caption)
    table.add_column("priority", no_wrap=True)
    table.add_column("case,\ncame", justify="right", no_wrap=True)
    for name in ("patient,\naccession", "subtype or reason"):
        table.add_column(name, overflow="fold")
    for name in ("mL", "prob.", "door to\nflag, s", "door to\nPACS, s", "sent"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            _priority(row),
            f"{row.case_id}\n{_came(row)}",
            outside(row.patient_id).append("\n").append(outside(row.accession_number)),
            outside(row.why or _subtypes(row)),
            figure(row.volume_ml, 1),
            figure(row.probability, 2),
            figure(row.door_to_flag_s, 1),
            figure(row.door_to_pacs_s, 1),
            _deliveries(row),
        )
    return table


def on_one_screen(rows: Sequence[Row], console: Console) -> Table:
    """Return the most urgent studies of the worklist, as many as the console shows at once."""
    shown = len(rows)
    while shown > 1:
        table = worklist_table(rows[:shown], len(rows) - shown)
        over = len(console.render_lines(table)) - console.height
        if over <= 0:
            break
        shown = max(1, shown - max(1, over // 6))
    return worklist_table(rows[:shown], len(rows) - shown)


def _priority(row: Row) -> Text:
    uncertain = [("\n? UNCERTAIN", "bold")] if row.uncertain else []
    prior = ["\nprior"] if row.prior else []
    aside = [f"\n{row.quarantined} set aside"] if row.quarantined else []
    purged = [f"\n{row.purged}"] if row.purged else []
    shown = WITHDRAWN_STYLE if row.withdrawn else PRIORITY_STYLES[row.priority]
    return Text.assemble(shown, *uncertain, *prior, *aside, *purged)


def _came(row: Row) -> str:
    """Return when the study came: the time of day, or the day if it was not today."""
    came = row.first_received_at.astimezone()
    today = datetime.now().astimezone().date()
    return f"{came:%H:%M}" if came.date() == today else f"{came:%m-%d}"


def _subtypes(row: Row) -> str:
    named = [ABBREVIATIONS[name] for name, p in row.subtypes.items() if p >= SUBTYPE_SHOWN]
    return ", ".join(named) if row.priority is Priority.SUSPECTED else ""


def figure(value: float | None, digits: int) -> str:
    """Return the value with so many decimals, or "-" if there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def _deliveries(row: Row) -> str:
    if not row.deliveries:
        return "-"
    sent = sum(delivery.status == "SENT" for delivery in row.deliveries)
    return f"{sent}/{len(row.deliveries)}"
