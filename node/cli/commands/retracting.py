"""`ichnode retract`: a result was sent in error, and is taken back everywhere."""

from typing import Annotated

import typer

from node.cli.commands.invocation import By, Config, configured
from node.cli.commands.worklist import NAMES
from node.cli.console.terminal import say
from node.errors import BadConfiguration

LONGEST = 500
"""Characters of a reason; every destination shows it, an e-mail and an HL7 message too. Chosen."""


def retract(
    study: Annotated[str, typer.Argument(metavar="STUDY", help=NAMES)],
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            metavar="TEXT",
            help="Why, in one line. All who got the result get it: name no patient.",
        ),
    ],
    by: By = None,
    config: Config = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without, it is only said what would be withdrawn.")
    ] = False,
) -> None:
    """Withdraw the results of a study that were sent in error.

    What has not left stays here. Each archive that got a result gets a report that says WITHDRAWN,
    by whom, when and why, and names what is withdrawn; who got a message hears the same. The study
    is then not analysed, which is no negative, until `ichnode replay` or a further image makes a
    result that replaces this one. It is noted in the audit trail. For example:

        ichnode retract A20261120-17 --reason "read with the wrong bundle" --yes
    """
    from node.cases.tell import teller
    from node.cli.console.retractions import told
    from node.clock import utc_now
    from node.worklist import Actor, Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        why = one_line(reason)
        uid = worklist.views.find(study)
        if yes:
            who = Actor.at_terminal(by)
            done = worklist.retractions.withdraw(uid, who, why, utc_now(), teller(settings))
        else:
            done = worklist.retractions.planned(uid)
        for line in told(done):
            say(line)
        if done.taken and not yes:
            say("nothing was withdrawn yet: add --yes")


def one_line(reason: str) -> str:
    """Return the reason as one line.

    Raises
    ------
    BadConfiguration
        If it says nothing, holds control characters, or is longer than `LONGEST`.
    """
    text = " ".join(reason.split())
    if not text or not text.isprintable() or len(text) > LONGEST:
        raise BadConfiguration(f"--reason is one line of 1 to {LONGEST} characters that says why")
    return text
