"""`ichnode import` and `pull`: fetch CT into the running node by another way than a C-STORE."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.commands.invocation import Config, configured
from node.cli.console.terminal import outside, say, terminal

if TYPE_CHECKING:
    from node.arrive.intake import Intake


def import_(
    path: Annotated[
        Path, typer.Argument(metavar="DIR", exists=True, help="Folder, medium or file.")
    ],
    config: Config = None,
    all_files: Annotated[
        bool, typer.Option("--all-files", help="Take what a DICOMDIR does not list as well.")
    ] = False,
) -> None:
    """File the CT of a folder, a CD or a single file; the running node then reads it.

    With a DICOMDIR at the folder's root, the files it lists are taken. Nothing outside the folder
    is read, and nothing in it is changed. Status 1 if something is missing. For example:

        ichnode import /media/cdrom

        ichnode import /srv/incoming/head.dcm --config /etc/ichnode/ichnode.toml
    """
    from rich.progress import track

    from node.arrive.intake import Intake
    from node.arrive.media import file_all, find
    from node.clock import utc_now
    from node.dicom.net.association import ACCEPTED_SOP_CLASSES
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        found = find(path, all_files=all_files)
        intake = Intake(settings, worklist.arrivals, utc_now, kinds=ACCEPTED_SOP_CLASSES)
        console = terminal(stderr=True)
        with tally(intake):
            for _ in track(
                file_all(found, intake), "importing", total=len(found.files), console=console
            ):
                pass
        raise typer.Exit(0 if intake.complete else 1)


def pull(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Study Instance UID.")],
    peer: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="PEER",
            help="A source of pull.sources, AE_TITLE@HOST:PORT (C-GET) or https://HOST/PATH.",
        ),
    ],
    config: Config = None,
    accession: Annotated[
        bool, typer.Option("--accession", help="STUDY is an accession number.")
    ] = False,
) -> None:
    """Fetch the CT series of a study from an archive; the running node then reads it.

    By C-GET, C-MOVE or DICOMweb, as pull.sources in the settings says. C-MOVE goes to the running
    node, whose AE title the archive must know. Status 1 if something did not come. For example:

        ichnode pull 1.2.840.113619.2.55.3 --from archive

        ichnode pull --accession A1234567 --from PACS@192.0.2.10:104
    """
    from rich.progress import Progress

    from node.arrive.archive import open_archive
    from node.arrive.intake import Intake
    from node.arrive.pull import fetch, filing, order
    from node.clock import utc_now
    from node.dicom.net.association import ACCEPTED_SOP_CLASSES
    from node.settings import source as find
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        source = find(peer, settings)
        intake = Intake(settings, worklist.arrivals, utc_now, kinds=ACCEPTED_SOP_CLASSES)
        console = terminal(stderr=True)
        with open_archive(source, settings, filing(source, intake)) as archive:
            wanted = order(archive, study, source, accession=accession)
            if wanted.others:
                console.print(outside(f"not fetched: series of {', '.join(wanted.others)}"))
            with tally(intake), Progress(console=console) as progress:
                task = progress.add_task("fetching", total=wanted.objects)
                for done in fetch(wanted, archive, source, intake, worklist.arrivals):
                    progress.update(task, completed=done)
        raise typer.Exit(0 if intake.complete else 1)


@contextmanager
def tally(intake: "Intake") -> Iterator[None]:
    """Say in the end, whatever happened, what was filed and what was left out, and why."""
    try:
        yield
    finally:
        for left in intake.left_out:
            say(f"{left.name}: {left.reason}", err=True, fault=left.fault)
        say(intake.summary)
