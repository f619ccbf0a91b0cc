"""Minutes that the node saves and costs, as a table of the terminal."""

from collections.abc import Iterator

from rich.table import Table

from node.archive.minutes import Interval, Outcome


def minutes_table(outcome: Outcome) -> Table:
    """Return a table of groups, one a line; it fits 80 columns."""
    table = Table(box=None, pad_edge=False)
    table.add_column("minutes\n(95 % interval)")
    for name in ("wait\nwithout", "wait\nwith", "sooner (+)\nor later (-)", "by\nformula"):
        table.add_column(name, justify="right")
    for line in outcome.lines:
        table.add_row(
            line.group,
            _minutes(line.without),
            _minutes(line.with_node),
            _minutes(line.sooner, sign="+"),
            f"{outcome.theory.sooner(line.group):+.1f}" if outcome.theory else "",
        )
    return table


def _minutes(interval: Interval, sign: str = "") -> str:
    return f"{interval.mean:{sign}.1f}\n({interval.low:.1f} to {interval.high:.1f})"


def remarks(outcome: Outcome) -> Iterator[str]:
    """Yield what the figures stand on, in sentences."""
    run = outcome.run
    yield (
        f"{run.replications} x {run.days} days, seed {run.seed}; "
        f"the radiologists are busy {outcome.load:.0%} of their time"
    )
    if outcome.theory:
        yield f"formula: {outcome.theory.model}"
    else:
        yield (
            "no closed formula is known for these settings: there is one where all hours are "
            "alike and one radiologist reads, or several whose readings are exponential with "
            "one mean"
        )
