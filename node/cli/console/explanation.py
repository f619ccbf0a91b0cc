"""What `ichnode explain` says of a study: each series and why, and the time each step took."""

from collections.abc import Mapping

from rich.console import Group
from rich.table import Table
from rich.text import Text

from node.cases.explain import Explanation, Told
from node.cli.console.replayed import in_words
from node.cli.console.terminal import outside
from node.cli.console.worklist import PRIORITY_STYLES, WITHDRAWN_STYLE, figure
from node.states import State
from node.visible import visible
from node.wording import RESEARCH_USE_ONLY

TAKEN = {True: Text("▶ read", "bold"), False: Text("– not read"), None: Text("… undecided")}
CHOSEN = Text("▶ chosen", "bold")


def explained(told: Explanation) -> Group:
    """Return why a study's series are read or not, and its time budget, as a page."""
    study = outside(f"  study {told.study_instance_uid}")
    shown = WITHDRAWN_STYLE if told.is_withdrawn else PRIORITY_STYLES[told.priority]
    heading = Text.assemble(shown, study)
    heading.append_text(outside(f", accession {told.accession_number or '-'}"))
    heading.append(f", case {told.case_id}")
    aside = f"{told.quarantined} objects of this study are in quarantine: it may be incomplete"
    return Group(
        Text(RESEARCH_USE_ONLY, "bold"),
        heading,
        *([Text(aside, "bold")] if told.quarantined else ()),
        *([outside(told.purged, "bold")] if told.purged else ()),
        *(outside(str(one), "bold") for one in told.withdrawn),
        _series_table(told),
        _time_table(told),
    )


def _series_table(told: Explanation) -> Table:
    table = Table(expand=False, show_lines=True)
    table.add_column("", no_wrap=True)
    for name in ("series", "why"):
        table.add_column(name, overflow="fold")
    names = {one.series_instance_uid: one.description for one in told.series}
    for one in told.series:
        table.add_row(_taken(one), _described(one), _why(one, names))
    return table


def _taken(one: Told) -> Text:
    return CHOSEN if one.cases[-1].state is State.ASSEMBLED else TAKEN[one.taken]


def _described(one: Told) -> Text:
    facts = (
        f"{one.images} images",
        f"{one.thickness_mm:.1f} mm thick" if one.thickness_mm else "",
        f"over {one.coverage_mm:.0f} mm" if one.coverage_mm else "",
        f"kernel {one.kernel}" if one.kernel else "",
        "\\".join(one.image_type),
        "contrast agent" if one.contrast else "",
    )
    said = ", ".join(fact for fact in facts if fact)
    return _lines(one.description or "without a description", said, one.series_instance_uid)


def _why(one: Told, names: Mapping[str, str]) -> Text:
    lines = []
    if one.decision:
        lines.append(one.decision)
    if one.reason and (one.taken or not one.decision):
        lines.append(f"{one.reason_code}: {one.reason}" if one.reason_code else one.reason)
    if one.lost_to:
        lines.append(f"lost to {names[one.lost_to.to_series]!r} by: {one.lost_to.line}")
    if one.closed_at and one.closed_by and one.saved_s is not None:
        sooner = f", {one.saved_s:.1f} s before the idle timer" if one.saved_s else ""
        lines.append(f"closed at {one.closed_at:%H:%M:%S} UTC{sooner}: {one.closed_by}")
    lines += [f"limitation: {text}" for text in one.limitations]
    for case in one.cases:
        verb = "withdraws" if case.withdraws else "supersedes"
        older = f", {verb} case {case.supersedes}" if case.supersedes else ""
        lines.append(f"case {case.case_id}: {case.state}, {case.priority}{older}")
        lines += [in_words(case.replay)] if case.replay else []
    return _lines(*lines)


def _lines(*lines: str) -> Text:
    return Text("\n".join(map(visible, lines)))


def _time_table(told: Explanation) -> Table:
    table = Table(expand=False)
    for name in ("step", "at (UTC)"):
        table.add_column(name)
    table.add_column("seconds", justify="right")
    for step in told.time_budget:
        table.add_row(step.step, f"{step.at:%Y-%m-%d %H:%M:%S}", f"{step.seconds:.2f}")
    table.add_row("door to flag", "", figure(told.door_to_flag_s, 2), style="bold")
    table.add_row("door to PACS", "", figure(told.door_to_pacs_s, 2), style="bold")
    return table
