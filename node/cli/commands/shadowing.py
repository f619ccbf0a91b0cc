"""`ichnode shadow`: another bundle beside the live one, promoted and rolled back."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.commands.accepting import Words
from node.cli.commands.comparing import HTML, summarise, write
from node.cli.commands.invocation import By, Config, Json, configured, installed
from node.cli.commands.retracting import one_line
from node.cli.console.terminal import say

if TYPE_CHECKING:
    from node.settings import Settings
    from node.shadow.releasing import Done

shadow = typer.Typer(
    no_args_is_help=True,
    help="Another bundle reads beside the live one and tells nobody; then it is promoted, and "
    "rolled back.",
)

Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why, in one line; for the audit trail.")
]


@shadow.command("status")
def status(config: Config = None, as_json: Json = False) -> None:
    """Say which bundle reads, how far the shadow is, and what would change. RESEARCH USE ONLY.

    A flip is a case of which the two say different things. `ichnode shadow report` shows each. The
    shadow reads while no live case waits; the seconds are of a whole reading, decoding and all.
    Status 1 if nothing can be read in shadow though `shadow.on` is set.
    """
    from node.cli.console.shadow import lines
    from node.clock import utc_now
    from node.shadow.standing import standing
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        found = standing(settings, worklist, utc_now())
        if as_json:
            typer.echo(json.dumps(found.to_json(), indent=1))
        else:
            for line in lines(found):
                say(line, fault=line == found.trouble)
        raise typer.Exit(int(found.on and bool(found.trouble)))


@shadow.command("report")
def report(
    out: Annotated[
        Path, typer.Argument(metavar="FOLDER", file_okay=False, help="Where to write.")
    ] = Path(),
    words: Words = False,
    config: Config = None,
) -> None:
    """Write what would change with the other bundle: comparison.html, comparison.json.

    The page is one file that loads nothing, as `ichnode archive compare` writes it: the cases that
    flip, with both scores, key slices and a link to the node's page; McNemar's exact test; and,
    where radiologists' reports are taken (watch.reports), sensitivity and specificity of both with
    the interval of their difference. It shows images of patients. Status 1 if a bleed that the live
    bundle flagged is not flagged by the other one.

        ichnode shadow report /data/shadow
    """
    from node.clock import utc_now
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        with installed("archive"):
            from node.shadow.report import shadow_report

        told, html = shadow_report(settings, worklist, utc_now(), with_words=words)
        write(out, told, html)
        summarise(told, out / HTML)


@shadow.command("promote")
def promote(
    reason: Reason,
    early: Annotated[
        bool, typer.Option("--early", help="Though it has not read `shadow.studies` studies.")
    ] = False,
    by: By = None,
    config: Config = None,
) -> None:
    """Have the bundle that read in shadow read live, from the next case on.

    It is loaded and tried first; one that is missing or damaged is refused, and the live one stays.
    No restart is needed, no study waits, and nothing that was reported changes. The promotion
    stands above triage.bundle of the settings, on every machine of the node, until it is rolled
    back. Look at the report first:

        ichnode shadow report

        ichnode shadow promote --reason "no bleed lost in 200 studies"
    """
    from node.clock import utc_now
    from node.shadow import releasing
    from node.worklist import Actor, Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        why, who = one_line(reason), Actor.at_terminal(by)
        done = releasing.promote(settings, worklist, who, why, utc_now, early=early)
        _say(done, settings)
        say("ichnode shadow rollback takes this back")


@shadow.command("rollback")
def rollback(reason: Reason, by: By = None, config: Config = None) -> None:
    """Have the bundle read again that read before the last promotion, from the next case on.

    What was reported meanwhile stays as it is; `ichnode replay CASE --from triage` reads a case
    again. For example:

        ichnode shadow rollback --reason "flags calcium at CT2"
    """
    from node.clock import utc_now
    from node.shadow import releasing
    from node.worklist import Actor, Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        why, who = one_line(reason), Actor.at_terminal(by)
        _say(releasing.roll_back(settings, worklist, who, why, utc_now), settings)


def _say(done: "Done", settings: "Settings") -> None:
    from node.settings import bundle_name

    say(f"{done.bundle} reads from the next case on; {done.was} read before")
    named = bundle_name(settings.triage.bundle)
    if done.by_settings:
        say("the settings name it: they hold again")
    elif named != done.bundle.folder:
        say(
            f"the settings still name {named}, for `ichnode analyse` and a new database; this "
            f'stands above them: set triage.bundle = "{done.bundle.folder}" at your leisure'
        )
