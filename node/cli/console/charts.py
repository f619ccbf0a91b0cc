"""CUSUM charts as tables of the terminal."""

from collections.abc import Iterable

from rich.table import Table

from node.archive.charts import Standing
from node.cli.console.terminal import outside


def charts_table(charts: Iterable[Standing]) -> Table:
    """Return a table of charts, one a line; it fits 80 columns."""
    table = Table(box=None, pad_edge=False)
    table.add_column("scanner", overflow="fold")
    table.add_column("looks for", no_wrap=True)
    for name in ("studies", "stands", "limit", "alarms", "false alarm\nafter", "found\nafter"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in charts:
        table.add_row(
            outside(one.scanner),
            f"{one.side}\n{one.usual:.3g} to {one.looked_for:.3g}",
            str(one.charted),
            f"{one.stands:.1f}",
            f"{one.limit:.1f}",
            str(len(one.alarms)),
            _false_alarm(one),
            f"{one.delay:.0f}",
            style="bold red" if one.alarms else "",
        )
    return table


def _false_alarm(one: Standing) -> str:
    if one.run_length_if_off is None:
        return f"{one.run_length:.0f}"
    return f"{one.run_length:.0f}\n({one.run_length_if_off:.0f})"


def alarms_table(charts: Iterable[Standing]) -> Table:
    """Return a table of alarms, one a line."""
    table = Table(box=None, pad_edge=False)
    for name in ("alarm of", "at study", "performed", "climbs since study", "performed"):
        table.add_column(name, overflow="fold")
    for one in charts:
        for alarm in one.alarms:
            table.add_row(
                outside(f"{one.scanner}, {one.side}"),
                str(alarm.study),
                f"{alarm.time:%Y-%m-%d %H:%M}",
                str(alarm.since_study),
                f"{alarm.since_time:%Y-%m-%d %H:%M}",
            )
    return table
