"""`ichnode canary`: whether the phantom that the node sends to itself comes back as before."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.commands.invocation import By, Config, Json, configured
from node.cli.console.terminal import say
from node.errors import BadConfiguration

if TYPE_CHECKING:
    from node.worklist import CanaryStanding


def canary(
    config: Config = None,
    as_json: Json = False,
    accept: Annotated[
        bool,
        typer.Option("--accept", help="Take the last finding as the one to compare with."),
    ] = False,
    by: By = None,
) -> None:
    """Say whether the last phantom came back, and was read as before. Status 1 if not.

    After a change of settings or runtime that explains another finding:

        ichnode canary --accept
    """
    from node.clock import utc_now
    from node.worklist import Actor, Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        if accept:
            found = worklist.canaries.accept(Actor.at_terminal(by), utc_now())
            if found is None:
                raise BadConfiguration("no phantom was read yet")
            say(f"compared from now on with {found}")
            return
        standing = worklist.canaries.standing(settings.canary, utc_now())
        if as_json:
            typer.echo(json.dumps(standing.to_json(), indent=1))
        else:
            _say(standing)
        raise typer.Exit(int(bool(standing.trouble)))


def _say(standing: "CanaryStanding") -> None:
    if not standing.on:
        say("none is sent: set canary.every_min")
    if standing.trouble:
        say(standing.trouble, fault=True)
    if (sound := standing.sound) and sound.found:
        sent = f"the last sound one was sent {sound.sent_at.astimezone():%d %b %H:%M}"
        say(f"{sent}: {sound.found}, door to flag {sound.door_to_flag_s or 0:.1f} s")
