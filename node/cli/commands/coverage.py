"""`ichnode coverage`: which head CTs an archive has that never came here."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.commands.invocation import By, Config, Json, configured
from node.cli.console.terminal import say, terminal

if TYPE_CHECKING:
    from node.settings import Settings
    from node.worklist import Worklist


def coverage(
    config: Config = None,
    as_json: Json = False,
    now: Annotated[bool, typer.Option("--now", help="Ask the sources first.")] = False,
    seen: Annotated[
        str,
        typer.Option(metavar="STUDY", help="Take a study off the list: a person looked after it."),
    ] = "",
    by: By = None,
) -> None:
    """List the head CTs that a source has and that never came, or came in part.

    The sources are those of coverage.ask. Status 1 if a study was never seen, or if that is not
    known because a source does not answer. For example:

        ichnode coverage --now

        ichnode coverage --seen 1.2.840.113619.2.55.3
    """
    from node.clock import utc_now
    from node.worklist import Actor, Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        if seen:
            worklist.coverage.set_aside(seen, Actor.at_terminal(by), utc_now())
            say(f"study {seen} is listed no more")
            return
        if now:
            _ask(settings, worklist)
        raise typer.Exit(_print(settings, worklist, as_json=as_json))


def _ask(settings: "Settings", worklist: "Worklist") -> None:
    """Ask every source; how one failed is told with the list."""
    from node.clock import utc_now
    from node.coverage import look
    from node.errors import BadConfiguration, IchnodeError

    if not settings.coverage.ask:
        raise BadConfiguration("no source is asked: set coverage.ask")
    try:
        look(settings, worklist.coverage, utc_now)
    except IchnodeError:
        return


def _print(settings: "Settings", worklist: "Worklist", *, as_json: bool) -> int:
    """Print the list; return 1 if a study was never seen or that is not known."""
    from node.cli.console.coverage import coverage_table
    from node.clock import utc_now

    found = worklist.coverage.standing(settings.coverage, utc_now())
    unknown = any(line.trouble for line in found.sources)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
        return int(bool(found.never_seen or unknown))
    if not found.sources:
        say("no source is asked: set coverage.ask")
    for warning in found.warnings:
        say(warning, fault=True)
    if found.gaps:
        terminal().print(coverage_table(found.gaps))
    elif found.sources and not unknown:
        say("every head CT that the sources list came")
    return int(bool(found.never_seen or unknown))
