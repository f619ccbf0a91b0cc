"""`ichnode review feedback`: what readers disagreed with at work, for the difficult-case review."""

from pathlib import Path
from typing import Annotated

import typer

from node.cli.commands.invocation import Config, configured
from node.cli.console.terminal import say
from node.wording import counted


def feedback(
    out: Annotated[Path, typer.Option(metavar="FILE", help="CSV file to write.")],
    config: Config = None,
) -> None:
    """Write the studies that readers disagreed with, for `ichnode review select`.

    One line a study: case, probability, truth as the reader says it, UIDs, mistake
    (MISSED or FALSE_ALARM), place and reason. Nobody is named, and the study's
    PatientID and accession number are taken out of the words. Look through them
    for names before you pass the file on. What was undone is left out. For example:

        ichnode review feedback --out feedback.csv

        ichnode review select feedback.csv --out review --reader anna --reader ben
    """
    from node.errors import Permanent
    from node.worklist import Worklist
    from training.review.readings import Doubt, write_doubts

    with configured(config) as settings, Worklist(settings.url) as worklist:
        found = worklist.feedback.disagreements()
        doubts = [
            Doubt(
                f"case-{one.case_id}",
                (one.study_instance_uid, one.series_instance_uid),
                one.probability,
                one.mistake,
                one.place,
                one.reason,
            )
            for one in found
        ]
        try:
            write_doubts(out, doubts)
        except OSError as error:
            raise Permanent(f"{out} cannot be written: {error.strerror}") from error
        say(f"{counted(len(found), 'study')} that readers disagreed with: {out}")
