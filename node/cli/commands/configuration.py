"""`ichnode config`: check the settings before a node runs on them, and show those in force."""

import os
from typing import Annotated

import typer

from node.cli.commands.invocation import Config, chosen, configured

config = typer.Typer(no_args_is_help=True, help="The settings.")


@config.command("check")
def check(file: Config = None) -> None:
    """Check the settings as the roles read them, and the files and variables that they name.

    Status 1 if something will not work, 2 if a role would refuse the settings. Neither network nor
    database is touched: `ichnode doctor` asks those.
    """
    from node.cli.console.terminal import say
    from node.faults import faults

    with configured(file) as settings:
        say(f"settings: {chosen(file) or 'those built in'}")
        names = [name for name in os.environ if name.upper().startswith("ICHNODE_")]
        if over := sorted({*names} - {"ICHNODE_CONFIG"}):
            say(f"from the environment, over the file: {', '.join(over)}")
        found = faults(settings)
        for fault in found:
            say(f"{'bad' if fault.bad else 'note'}  {fault}", fault=fault.bad)
        bad = sum(fault.bad for fault in found)
        say(f"{bad} faults" if bad else "no fault found")
        raise typer.Exit(int(bool(bad)))


@config.command("show")
def show(
    file: Config = None,
    whole: Annotated[bool, typer.Option("--all", help="Show defaults too, and mark them.")] = False,
) -> None:
    """Print the settings in force as TOML, without a secret; what is not set is left out."""
    from node.settings import as_toml

    with configured(file) as settings:
        typer.echo(as_toml(settings, whole=whole), nl=False)
