"""`ichnode echo` and `send`: verify a peer, and send it files."""

from pathlib import Path
from typing import Annotated

import typer

from node.cli.commands.invocation import Config, configured
from node.cli.console.terminal import outside, say, terminal

PeerName = Annotated[
    str, typer.Argument(metavar="PEER", help="AE_TITLE@HOST:PORT or a destination")
]


def echo(peer: PeerName, config: Config = None) -> None:
    """Verify a DICOM peer with C-ECHO; of a destination of messages, that it answers."""
    from node.deliver import probe
    from node.dicom.net.store_scu import echo as ask
    from node.settings import peer as find

    with configured(config) as settings:
        found = find(peer, settings)
        if found.how != "dicom":
            say(f"{peer} {probe(found, settings)}")
            return
        status = ask(found, settings)
        say(f"{peer} answers 0x{status:04X}")
        raise typer.Exit(0 if status == 0 else 1)


def send(
    path: Annotated[Path, typer.Argument(exists=True, help="DICOM file or folder.")],
    peer: PeerName,
    config: Config = None,
) -> None:
    """Send DICOM files to a peer with C-STORE."""
    from rich.progress import track

    from node.arrive.media import files_in
    from node.dicom.net.store_scu import send_files
    from node.errors import BadConfiguration
    from node.settings import peer as find

    with configured(config) as settings:
        receiver = find(peer, settings)
        if receiver.how != "dicom":
            raise BadConfiguration(f"{peer} takes messages ({receiver.how}) and no DICOM files")
        files = files_in(path)
        console = terminal(stderr=True)
        results = list(
            track(
                send_files(files, receiver, settings),
                "sending",
                total=len(files),
                console=console,
            )
        )
        failed = [result for result in results if not result.stored]
        for result in failed:
            console.print(outside(f"{result.path}: {result.message}"))
        say(f"{len(results) - len(failed)} of {len(files)} stored by {peer}")
        raise typer.Exit(1 if failed or len(results) < len(files) else 0)
