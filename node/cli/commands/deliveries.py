"""`ichnode deliveries`: what was not sent; try it again, or owe it no longer."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.commands.invocation import By, Config, Json, configured, print_list
from node.cli.commands.quarantine import numbers
from node.cli.console.terminal import say
from node.errors import BadConfiguration

if TYPE_CHECKING:
    from node.worklist import Deliveries

deliveries = typer.Typer(
    no_args_is_help=True, help="What was not sent: try it again, or owe it no longer."
)
To = Annotated[str | None, typer.Option("--to", metavar="DESTINATION", help="Only those to it.")]
Numbers = Annotated[
    list[str] | None,
    typer.Argument(metavar="NUMBER", help='As in `deliveries list`; also groups, "2-4".'),
]


@deliveries.command("list")
def deliveries_list(to: To = None, config: Config = None, as_json: Json = False) -> None:
    """List the deliveries that are owed or dead, dead ones first, then the oldest."""
    from node.cli.console.deliveries import deliveries_table
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        found = worklist.deliveries.unsent(to)
        print_list(found, deliveries_table, "nothing is owed", as_json=as_json)


@deliveries.command("retry")
def deliveries_retry(
    number: Numbers = None, to: To = None, by: By = None, config: Config = None
) -> None:
    """Try deliveries again now: those named, or all dead ones to a destination.

    A dead one gets all its tries again. A dead message about a study of which a later message
    exists stays dead: it would say what no longer stands. For example:

        ichnode deliveries retry 17-20

        ichnode deliveries retry --to PACS
    """
    _decide(number, to, by, config, lambda owed: owed.retry, "tried again")


@deliveries.command("cancel")
def deliveries_cancel(
    number: Numbers = None, to: To = None, by: By = None, config: Config = None
) -> None:
    """Give deliveries up for good: those named, or all dead ones to a destination.

    A result that reached no destination stays undelivered in the worklist. For example:

        ichnode deliveries cancel 17
    """
    _decide(number, to, by, config, lambda owed: owed.cancel, "no longer owed")


def _decide(
    groups: list[str] | None,
    to: str | None,
    by: str | None,
    config: Path | None,
    act: "Callable[[Deliveries], Callable[..., list[int]]]",
    what: str,
) -> None:
    """Do it to the deliveries that a person means; leave with 1 if one stays as it was."""
    from node.clock import utc_now
    from node.worklist import Actor, DeliveryStatus, Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        if (groups is None) == (to is None):
            raise BadConfiguration("name deliveries by their numbers, or a destination by --to")
        dead = worklist.deliveries.unsent(to, DeliveryStatus.DEAD) if to is not None else []
        chosen = numbers(groups or []) + [one.number for one in dead]
        done = act(worklist.deliveries)(chosen, Actor.at_terminal(by), utc_now())
        say(f"{len(done)} {what}")
        if left := sorted(set(chosen) - set(done)):
            names = ", ".join(map(str, left))
            say(f"left as before (sent, cancelled, unknown, or a later message exists): {names}")
            raise typer.Exit(1)
