"""`ichnode archive chart`: whether an outcome changed, by scanner."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.commands.invocation import Json, one_line_errors
from node.cli.console.terminal import say, terminal

if TYPE_CHECKING:
    from node.archive.charts import Plan


def chart(
    outcomes: Annotated[
        Path,
        typer.Argument(
            metavar="OUTCOMES.csv",
            exists=True,
            dir_okay=False,
            help="Columns time, scanner and value: a study a row.",
        ),
    ],
    run_length: Annotated[
        float,
        typer.Option(min=100, help="Studies of all scanners up to the first false alarm of any."),
    ] = 5000,
    kinds: Annotated[
        int, typer.Option(min=1, help="How many outcomes you chart so; their alarms all count.")
    ] = 1,
    baseline: Annotated[
        int, typer.Option(min=20, help="A scanner's first studies, which say what is usual.")
    ] = 200,
    usual: Annotated[
        float | None,
        typer.Option(help="The usual rate or mean, if it is known.", show_default=False),
    ] = None,
    deviation: Annotated[
        float | None,
        typer.Option(help="With --usual: a mean's standard deviation.", show_default=False),
    ] = None,
    odds: Annotated[
        float,
        typer.Option(
            min=1.1, max=20, help="Of a rate: find odds this many times as high, or as low."
        ),
    ] = 2.0,
    shift: Annotated[
        float, typer.Option(min=0.1, max=4, help="Of a mean: find this, in standard deviations.")
    ] = 1.0,
    ranks: Annotated[
        bool, typer.Option("--ranks", help="For means of values far from normal, as of minutes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Chart an outcome of the node for each scanner, and tell where it rose or fell.

    Values 0 and 1 are a rate (flagged, agreed, refused), others a mean (probability, seconds from
    door to flag). Each scanner has two CUSUM charts, for a rise and for a fall. The table has the
    study at which a chart alarmed and the one since which it climbs, how many studies pass up to a
    false alarm, and after how many a change is found. Status 1 if there is an alarm. For example:

        ichnode archive chart flagged.csv --run-length 5000 --kinds 5

        ichnode archive chart door_to_flag.csv --ranks
    """
    from node.archive.charts import Plan

    plan = Plan(run_length, kinds, baseline, usual, deviation, odds, shift, ranks)
    with one_line_errors():
        raise typer.Exit(_chart(outcomes, plan, as_json=as_json))


def _chart(file: Path, plan: "Plan", *, as_json: bool) -> int:
    """Print the charts; return 1 if one alarmed."""
    from node.archive.charts import read_outcomes, standings
    from node.cli.console.charts import alarms_table, charts_table

    charts, left_out = standings(read_outcomes(file), plan)
    alarmed = [one for one in charts if one.alarms]
    if as_json:
        found = {
            "run_length": plan.run_length,
            "kinds": plan.kinds,
            "charts": [one.to_json() for one in charts],
            "left_out": left_out,
        }
        typer.echo(json.dumps(found, indent=1))
        return int(bool(alarmed))
    if charts:
        terminal().print(charts_table(charts))
    if alarmed:
        terminal().print(alarms_table(alarmed))
    for scanner, why in left_out.items():
        say(f"{scanner} has no chart: {why}", fault=True)
    if any(one.run_length_if_off is not None for one in charts):
        say("in brackets: if what is usual differs by one standard error of the baseline")
    say(
        f"false alarms: one in {plan.run_length:.0f} studies of all scanners, "
        f"or rarer, by all charts of {plan.kinds} outcome{'s' if plan.kinds > 1 else ''} together"
    )
    return int(bool(alarmed))
