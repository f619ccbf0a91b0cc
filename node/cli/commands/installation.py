"""`ichnode serve`, `doctor` and `db`: run an installation, check it, bring its database up."""

from pathlib import Path
from typing import Annotated

import typer

from node.cli.commands.invocation import Config, chosen, configured
from node.errors import BadConfiguration

db = typer.Typer(no_args_is_help=True, help="The worklist's database.")


def serve(
    config: Config = None,
    role: Annotated[
        str, typer.Option(help="all, or one of receive, work, deliver, web, shadow.")
    ] = "all",
) -> None:
    """Run the node until it is told to stop (SIGTERM, Ctrl-C).

    `--role all` runs each role in a process of its own and starts again what dies. It is refused
    where another one runs on the same data folder.
    """
    from node.depot import depot_of
    from node.disk import make_private
    from node.folder_lock import locked
    from node.in_force import InForce
    from node.roles import ROLES, run_role
    from node.serve import (
        is_supervised,
        reload_on_signal,
        require_good_certificate,
        require_ports,
        require_safe_page,
        stop_on_signal,
        supervise,
    )
    from node.worklist import upgrade

    with configured(config) as settings:
        in_force = InForce(chosen(config), settings, said_by_another=is_supervised())
        stop = stop_on_signal()
        reload_on_signal(in_force, stop)
        known = {name: name for name in ROLES}
        make_private(settings.data_dir)
        depot_of(settings)  # what cannot be used is said here, before any role starts
        if role == "all":
            with locked(settings.data_dir):
                require_good_certificate(settings)
                require_ports(settings, stop)
                if not settings.database_url:
                    upgrade(settings.url, idle_s=settings.assemble.idle_s)
                require_safe_page(settings)
                supervise(config, in_force, stop)
        elif role in known:
            run_role(known[role], in_force, stop)
        else:
            raise BadConfiguration(f"no role {role!r}: all, {', '.join(ROLES)}")


def reload(config: Config = None) -> None:
    """Have the running node read its settings anew: callers, destinations and sources.

    Other changed settings wait for a restart; the node's log names them. For roles that run each by
    themselves: `systemctl reload 'ichnode-*.service'`.
    """
    from node.serve import ask_to_reload

    with configured(config) as settings:
        typer.echo(f"process {ask_to_reload(settings.data_dir)} reads its settings anew")


def doctor(config: Config = None) -> None:
    """Check this installation: settings, disk, database, detector, ports and peers."""
    from node.cli.doctor import examine

    with configured(config) as settings:
        raise typer.Exit(examine(settings))


@db.command("upgrade")
def db_upgrade(config: Config = None) -> None:
    """Create the worklist's tables, or bring them to this version."""
    from node.worklist import upgrade

    with configured(config) as settings:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        upgrade(settings.url, idle_s=settings.assemble.idle_s)
        typer.echo("the database is up to date")


@db.command("backup")
def db_backup(
    file: Annotated[Path, typer.Argument(help="Where to write it; it must not exist.")],
    config: Config = None,
) -> None:
    """Copy the SQLite database to a file, as it is at one moment; the node may run.

    It holds what was decided, not the images: docs/operations.md says what else to keep, and how
    to restore it.
    """
    from node.worklist import backup

    with configured(config) as settings:
        backup(settings.url, file)
        typer.echo(f"the database as it is now is in {file}")


@db.command("check")
def db_check(config: Config = None) -> None:
    """Check the database, its schema, the audit trail, and that the files of its rows are there.

    Status 1 if something is wrong. Sizes are compared, not the bytes.
    """
    from node.cli.console.terminal import say
    from node.cli.inspecting import inspected
    from node.depot import depot_of
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        found, lines = inspected(worklist, depot_of(settings))
        for line in lines:
            say(line, fault=found)
        raise typer.Exit(int(found))


@db.command("restore")
def db_restore(
    file: Annotated[Path, typer.Argument(help="A copy that `ichnode db backup` wrote.")],
    config: Config = None,
) -> None:
    """Make a copy the database of a data folder that has none, and say which files are not there.

    Put received/, quarantine/ and cases/ beside it, before or after: docs/operations.md.
    """
    from node.cli.console.terminal import say
    from node.cli.inspecting import inspected
    from node.depot import depot_of
    from node.disk import make_private
    from node.folder_lock import locked
    from node.worklist import Worklist, restore

    with configured(config) as settings:
        make_private(settings.data_dir)
        with locked(settings.data_dir):
            restore(settings.url, file, idle_s=settings.assemble.idle_s)
            say(f"the database is that of {file}")
            with Worklist(settings.url) as worklist:
                for line in inspected(worklist, depot_of(settings))[1]:
                    say(line)
