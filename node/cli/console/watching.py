"""Results beside reports, as tables of the terminal."""

from collections.abc import Iterable

from rich.table import Table

from node.cli.console.terminal import outside
from node.watch import Agreement, Tally, Watched
from node.worklist import ChartLine, Stray


def disagreeing_table(studies: Iterable[Watched]) -> Table:
    """Return a table of studies of which node and report say different things; 80 columns."""
    table = Table(box=None, pad_edge=False)
    for name in ("what", "came", "page,\nscanner", "the report says,\nby the rule"):
        table.add_column(name, overflow="fold")
    for one in studies:
        missed = one.agreement is Agreement.REPORT_ONLY
        label = one.report.label if one.report else None
        table.add_row(
            outside("REPORT ONLY" if missed else "node only", "bold red" if missed else ""),
            f"{one.study.received_at.astimezone():%Y-%m-%d\n%H:%M}",
            outside(one.page).append("\n").append(outside(one.scanner)),
            outside(label.sentence if label else "").append(
                outside(f"\n{label.rule}" if label else "", "dim")
            ),
        )
    return table


def tallies_table(tallies: Iterable[Tally]) -> Table:
    """Return a table of scanners, one a line; it fits 80 columns."""
    table = Table(box=None, pad_edge=False)
    table.add_column("scanner", overflow="fold")
    for name in ("studies", *(each.value.replace(" ", "\n") for each in Agreement)):
        table.add_column(name, justify="right")
    for one in tallies:
        counts = (str(one.counts[each]) for each in Agreement)
        table.add_row(outside(one.scanner), str(one.studies), *counts)
    return table


def charts_table(lines: Iterable[ChartLine]) -> Table:
    """Return a table of the charts of scanners, a rise or a fall a line; it fits 80 columns."""
    table = Table(box=None, pad_edge=False)
    for name in ("scanner", "outcome", "looks for"):
        table.add_column(name, overflow="fold")
    for name in ("studies", "of limit", "false alarm\nafter", "found\nafter"):
        table.add_column(name, justify="right")
    for line in lines:
        of = outside(line.scanner), outside(line.outcome, "bold red" if line.said else "")
        if line.figure["why"]:
            table.add_row(*of, outside(line.figure["why"], "dim"))
        for one in line.figure["charts"]:
            table.add_row(
                *of,
                f"{one['side']}\n{one['usual']:.3g} to {one['looked_for']:.3g}",
                str(one["charted"]),
                f"{100 * one['stands'] / one['limit']:.0f} %",
                f"{one['run_length_if_off']:.0f}",
                f"{one['delay']:.0f}",
            )
    return table


def strays_table(strays: Iterable[Stray]) -> Table:
    """Return a table of reports that are of no study here; it fits 80 columns."""
    table = Table(box=None, pad_edge=False)
    for name in ("came", "accession", "patient", "why"):
        table.add_column(name, overflow="fold")
    for one in strays:
        table.add_row(
            f"{one.received_at.astimezone():%Y-%m-%d %H:%M}",
            outside(one.accession_number),
            outside(one.patient_id),
            outside(one.why),
        )
    return table
