"""`ichnode purge`: files of studies that are not to be kept any longer."""

from datetime import timedelta
from typing import Annotated

import typer

from node.cli.commands.invocation import Config, configured
from node.cli.console.terminal import say
from node.errors import BadConfiguration


def purge(
    config: Config = None,
    study: Annotated[
        str | None,
        typer.Option("--study", help="A StudyInstanceUID, an accession number or a case's number."),
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option(
            "--older-than",
            metavar="DAYS",
            help="Studies whose last image came, and whose last result left, so long ago.",
        ),
    ] = None,
    results: Annotated[
        bool, typer.Option("--results", help="Remove the results too, not the images alone.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without, it is only said what would go.")
    ] = False,
) -> None:
    """Remove the received files of studies, and say what stays and why.

    Rows stay, with what was found. What is not delivered, in quarantine or worked on stays, what
    the node has committed itself to keep, and the results of a suspected study that nobody
    acknowledged. It is noted in the audit trail.
    """
    from node.clock import utc_now
    from node.jobs import purge_by_hand
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        if (study is None) == (older_than is None):
            raise BadConfiguration("name one study by --study, or many by --older-than DAYS")
        now = utc_now()
        if study is not None:
            wanted = [worklist.views.find(study)]
        else:
            wanted = worklist.retention.all_old(
                now - timedelta(days=older_than or 0.0), now, results=results
            )
        for line in purge_by_hand(settings, worklist, wanted, now, results=results, yes=yes):
            say(line)
