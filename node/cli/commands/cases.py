"""`ichnode cases`: what is not done with, what happened to a case, and a failed one once more."""

from typing import Annotated

import typer

from node.cli.commands.invocation import By, Config, Json, chosen_by_name, configured, print_list
from node.cli.commands.quarantine import numbers
from node.cli.commands.worklist import NAMES
from node.cli.console.terminal import say, terminal
from node.errors import BadConfiguration, Permanent

cases = typer.Typer(
    no_args_is_help=True, help="The series that are read: what waits or failed, and once more."
)


@cases.command("list")
def cases_list(
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="STATE", help="Only cases in this state; repeatable."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the cases that are not done with: what each waits for, and what went wrong last.

    For example: ichnode cases list --state failed
    """
    from node.cli.console.cases import cases_table
    from node.states import State
    from node.worklist import OPEN, Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        wanted = chosen_by_name(State, state or []) or OPEN
        found = worklist.views.open_cases(wanted)
        print_list(found, cases_table, "no such case", as_json=as_json)


@cases.command("show")
def cases_show(
    case: Annotated[str, typer.Argument(metavar="CASE", help=NAMES)], config: Config = None
) -> None:
    """Show what happened to one case, step by step; `ichnode explain` tells of its study."""
    from node.cli.console.cases import history
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        number = worklist.views.find_case(case)
        found = worklist.cases.get(number)
        events = worklist.views.events(found.study_instance_uid)
        terminal().print(history(found, [one for one in events if one.case_id == number]))


@cases.command("retry")
def cases_retry(
    number: Annotated[
        list[str] | None,
        typer.Argument(metavar="CASE", help='Numbers as in `cases list`; also groups, "2-4".'),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that are FAILED.")] = False,
    by: By = None,
    config: Config = None,
) -> None:
    """Have FAILED cases go on where they failed; the running node does the work.

    `ichnode replay` runs a case again that did not fail. For example:

        ichnode cases retry 17-20

        ichnode cases retry --failed
    """
    from node.clock import utc_now
    from node.states import State
    from node.worklist import Actor, Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        if bool(number) == failed:
            raise BadConfiguration("name cases by their numbers, or all failed ones by --failed")
        every = worklist.views.open_cases({State.FAILED}) if failed else []
        chosen = [one.case_id for one in every] or numbers(number or [])
        refused = 0
        for one in chosen:
            try:
                to = worklist.cases.try_failed(one, Actor.at_terminal(by).name, utc_now())
                say(f"case {one} goes on as {to}")
            except Permanent as error:
                refused += 1
                say(str(error), err=True, fault=True)
        say(f"{len(chosen) - refused} tried again")
        if refused:
            raise typer.Exit(1)
