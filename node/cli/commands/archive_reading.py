"""`ichnode archive read`: what the node says of every head CT of an archive."""

import json
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.commands.invocation import Config, Json, configured, installed
from node.cli.console.terminal import say, terminal
from node.wording import counted

if TYPE_CHECKING:
    from collections.abc import Generator

    from node.archive.reading import Progress


PerMinute = Annotated[float, typer.Option(help="Studies a minute from a server, at most.")]
Hours = Annotated[
    str, typer.Option(metavar="FIRST-END", help="Retrieve in these hours alone: 20-6.")
]
MoveToHere = Annotated[
    str,
    typer.Option(metavar="AE_TITLE:PORT", help="Where a C-MOVE source sends, for this call alone."),
]


def read(
    proof: Annotated[
        Path, typer.Argument(metavar="PROOF", help="Folder that ichnode archive find made.")
    ],
    actors: Annotated[
        int, typer.Option(min=0, help="Workers, each with its networks; 0: one a machine.")
    ] = 0,
    gpus: Annotated[
        float, typer.Option(min=0, max=8, help="Share of a GPU for each worker, as 0.5.")
    ] = 0.0,
    address: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="A Ray cluster; else one is started here for now."),
    ] = "",
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Keep images for people to look at.")
    ] = True,
    failed: Annotated[
        bool, typer.Option("--failed", help="Read again what failed or killed its worker.")
    ] = False,
    per_minute: PerMinute = 60.0,
    hours: Hours = "",
    move_to: MoveToHere = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Read the studies of a catalogue with the node's own stages; nothing goes to a PACS.

    Each study is judged, read and reported as `ichnode analyse` does, and what comes of it is a row
    of PROOF/outcomes. A further call goes on with what has no row, however the last one ended. A
    study that ends its worker twice gets the result KILLED. On several machines (--address) each
    needs ichnode, the bundle, and the folders of the archive under the same paths; and Ray's token.

        ichnode archive read proof --actors 2

        ichnode archive read proof --address 10.0.0.5:6379 --actors 8 --gpus 0.25

    Status 1 if a study failed or killed its worker.
    """
    with configured(config) as settings:
        with installed("archive"):
            from node.archive.finding import Gentle
            from node.archive.finding import hours as hours_of
            from node.archive.proof import Proof, disk_faults
            from node.archive.reading import Plan, read_catalogue
            from node.archive.reading import move_to as move_to_of
        gentle = Gentle(per_minute, hours_of(hours))
        plan = Plan(address, actors, gpus, images, gentle, move_to_of(move_to), failed)
        steps = read_catalogue(Proof(proof), settings, plan, partial(say, err=True))
        with disk_faults(proof), closing(steps):
            last = _follow(steps)
        if as_json:
            typer.echo(json.dumps(last.to_json(), indent=1))
        else:
            say(_summary(last))
        bad = last.results["FAILED"] + last.results["KILLED"]
        raise typer.Exit(1 if bad else 0)


def _follow(steps: "Generator[Progress, None, None]") -> "Progress":
    """Show how far the reading is, how fast, and when it ends; return how it ended."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from node.wording import RESEARCH_USE_ONLY

    say(RESEARCH_USE_ONLY, err=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    last = None
    with Bar(*columns, console=terminal(stderr=True), speed_estimate_period=300.0) as bar:
        task = bar.add_task("studies", total=None, rate="")
        for last in steps:
            speed = bar.tasks[0].speed
            rate = f"{speed * 3600:.0f} an hour" if speed else ""
            bar.update(task, completed=last.done, total=last.total, rate=rate)
    assert last is not None
    return last


def _summary(last: "Progress") -> str:
    results = ", ".join(f"{count} {name}" for name, count in sorted(last.results.items()))
    before = f"read before: {last.before}" if last.before else ""
    done = counted(last.done, "study")
    read_now = f"{done} read: {results}" if last.done else "no study left to read"
    return "; ".join(filter(None, (read_now, before)))
