"""`ichnode pause` and `resume`: nothing is sent for a while, such as when a PACS is moved."""

from typing import Annotated

import typer

from node.cli.commands.invocation import By, Config, configured
from node.cli.console.terminal import say


def pause(
    why: Annotated[str, typer.Option("--why", help="For all to see; no patient's name.")] = "",
    by: By = None,
    config: Config = None,
) -> None:
    """Send nothing until `ichnode resume`; receive, read and list as usual.

    No destination gets a result or a message, nobody is told of a suspected study by one. It
    outlasts restarts. For example: ichnode pause --why "the PACS moves tonight"
    """
    from node.clock import utc_now
    from node.worklist import Actor, Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        say(str(worklist.deliveries.pause(Actor.at_terminal(by), why, utc_now())))


def resume(by: By = None, config: Config = None) -> None:
    """Send again what is owed, all of it at once, after `ichnode pause`."""
    from node.clock import utc_now
    from node.worklist import Actor, Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        over = worklist.deliveries.resume(Actor.at_terminal(by), utc_now())
        say("sending was not paused" if over is None else "what is owed goes out now")
