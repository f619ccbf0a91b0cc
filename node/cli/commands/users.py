"""`ichnode user`: who may sign in at the triage page."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.commands.invocation import Config, Json, configured, print_list
from node.cli.console.terminal import say
from node.errors import BadConfiguration

if TYPE_CHECKING:
    from node.worklist import Actor, Role, Worklist

user = typer.Typer(
    no_args_is_help=True,
    help="Who may sign in at the triage page. Once there is an account, every page needs one.",
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The name to sign in by.")]
RoleName = Annotated[
    str,
    typer.Option(
        "--role",
        help="viewer (looks), radiologist (also gives feedback) or admin (also runs the node).",
    ),
]


@user.command("add")
def user_add(name: Name, role: RoleName = "viewer", config: Config = None) -> None:
    """Make an account. The password is asked for, or read from standard input as one line.

    The first account closes the page to everybody who is not signed in. For example:

        ichnode user add "Dr. Night" --role radiologist
    """
    from node.clock import utc_now
    from node.passwords import hashed

    with opened(config) as (worklist, by):
        chosen = _role(role)
        worklist.accounts.add(name, chosen, hashed(_password(), name), by, utc_now())
        say(f"{name} may sign in as {chosen}")


@user.command("list")
def user_list(config: Config = None, as_json: Json = False) -> None:
    """List the accounts."""
    from node.cli.console.users import accounts_table

    with opened(config) as (worklist, _):
        accounts = worklist.accounts.listed()
        nothing = "there is no account: the page is read-only, on loopback"
        print_list(accounts, accounts_table, nothing, as_json=as_json)


@user.command("disable")
def user_disable(name: Name, config: Config = None) -> None:
    """Let a person sign in no more, and sign them out; what they said and did stays."""
    from node.clock import utc_now

    with opened(config) as (worklist, by):
        worklist.accounts.disable(name, by, utc_now())
        say(f"{name} may sign in no more")


@user.command("enable")
def user_enable(name: Name, config: Config = None) -> None:
    """Let a person whose account was disabled sign in again."""
    from node.clock import utc_now

    with opened(config) as (worklist, by):
        worklist.accounts.enable(name, by, utc_now())
        say(f"{name} may sign in again")


@user.command("password")
def user_password(name: Name, config: Config = None) -> None:
    """Give a person another password, and sign them out.

    The password is asked for, or read from standard input as one line.
    """
    from node.clock import utc_now
    from node.passwords import hashed

    with opened(config) as (worklist, by):
        worklist.accounts.set_password(name, hashed(_password(), name), by, utc_now())
        say(f"{name} has another password")


@user.command("role")
def user_role(
    name: Name,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="viewer, radiologist or admin.")],
    config: Config = None,
) -> None:
    """Give a person another role; it holds at once."""
    from node.clock import utc_now

    with opened(config) as (worklist, by):
        worklist.accounts.set_role(name, chosen := _role(role), by, utc_now())
        say(f"{name} is {chosen}")


@contextmanager
def opened(config: Path | None) -> Iterator[tuple["Worklist", "Actor"]]:
    """Yield the worklist, and who sits at the terminal."""
    from node.worklist import Actor, Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        yield worklist, Actor.at_terminal()


def _role(text: str) -> "Role":
    from node.worklist import Role

    try:
        return Role(text)
    except ValueError:
        raise BadConfiguration(f"no role {text!r}: {', '.join(Role)}") from None


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")
