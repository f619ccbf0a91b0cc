"""`ichnode`: its commands, in the order in which `ichnode --help` lists them.

Commands import what they call when they run, so `--help` needs neither networks nor database.
"""

from collections.abc import Callable
from typing import Annotated

import typer

from node.cli.commands.accepting import report
from node.cli.commands.adjudicating import adjudicate
from node.cli.commands.archive import archive
from node.cli.commands.archive_exporting import export as export_archive
from node.cli.commands.archive_reading import read
from node.cli.commands.arriving import import_, pull
from node.cli.commands.audit import audit
from node.cli.commands.canary import canary
from node.cli.commands.cases import cases
from node.cli.commands.charting import chart
from node.cli.commands.comparing import again, compare
from node.cli.commands.configuration import config
from node.cli.commands.coverage import coverage
from node.cli.commands.deliveries import deliveries
from node.cli.commands.finding import find
from node.cli.commands.installation import db, doctor, reload, serve
from node.cli.commands.jobs import jobs
from node.cli.commands.labelling import label
from node.cli.commands.minutes import minutes
from node.cli.commands.peers import echo, send
from node.cli.commands.purging import purge
from node.cli.commands.quarantine import quarantine
from node.cli.commands.reading import analyse, bench, demo
from node.cli.commands.retracting import retract
from node.cli.commands.reviewing import feedback
from node.cli.commands.sending import pause, resume
from node.cli.commands.shadowing import shadow
from node.cli.commands.training import evaluate, export, train
from node.cli.commands.users import user
from node.cli.commands.watching import watch
from node.cli.commands.worklist import explain, replay, worklist
from training.review.commands import app as review

COMMANDS: dict[str, Callable[..., None]] = {
    "serve": serve,
    "reload": reload,
    "demo": demo,
    "analyse": analyse,
    "import": import_,
    "pull": pull,
    "worklist": worklist,
    "coverage": coverage,
    "canary": canary,
    "watch": watch,
    "echo": echo,
    "send": send,
    "replay": replay,
    "retract": retract,
    "explain": explain,
    "pause": pause,
    "resume": resume,
    "doctor": doctor,
    "jobs": jobs,
    "purge": purge,
    "bench": bench,
    "train": train,
    "export": export,
    "evaluate": evaluate,
}
GROUPS = {
    "archive": archive,
    "shadow": shadow,
    "cases": cases,
    "quarantine": quarantine,
    "deliveries": deliveries,
    "user": user,
    "audit": audit,
    "config": config,
    "db": db,
    "review": review,
}

app = typer.Typer(
    name="ichnode",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A DICOM node that triages intracranial hemorrhage on head CT. RESEARCH USE ONLY.",
    epilog="Start with `ichnode demo`; then `ichnode doctor`, `ichnode db upgrade`, "
    "`ichnode serve`.",
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"ichnode {version('ichnode')}")
        raise typer.Exit


@app.callback()
def _ichnode(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Hold the options that belong to no command."""


for name, command in COMMANDS.items():
    app.command(name)(command)
review.command("feedback")(feedback)  # of the node's database, which training does not know
archive.command("find")(find)
archive.command("read")(read)
archive.command("label")(label)
archive.command("minutes")(minutes)
archive.command("chart")(chart)
archive.command("adjudicate")(adjudicate)
archive.command("report")(report)
archive.command("export")(export_archive)
archive.command("again")(again)
archive.command("compare")(compare)
for name, group in GROUPS.items():
    app.add_typer(group, name=name)
