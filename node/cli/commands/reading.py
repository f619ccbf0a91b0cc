"""`ichnode demo`, `analyse` and `bench`: read phantoms, a folder, and against the clock."""

import json
from pathlib import Path
from typing import Annotated

import typer

from node.cli.commands.invocation import Config, Json, configured, one_line_errors


def demo(
    ct: Annotated[
        Path | None,
        typer.Option(exists=True, help="Push this folder of DICOM files, not the phantoms."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("var/demo"),
) -> None:
    """Show the whole way: push head CT to a node, read it, receive SEG, SR and capture back."""
    from node.cli.demo import demo as run

    with one_line_errors():
        run(ct, out)


def analyse(
    path: Annotated[Path, typer.Argument(metavar="DIR", exists=True, help="Folder or file.")],
    config: Config = None,
    out: Annotated[
        Path | None, typer.Option(help="Put each study's SEG, SR, capture and picture here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read the studies of a folder with the node's own stages, without network.

    With --json, one object a study and line.
    """
    from functools import cache

    from rich.console import Console

    from node.cases.detector import load_detector
    from node.cli.analyse import analyse as run
    from node.cli.console.analysed import summary
    from node.wording import RESEARCH_USE_ONLY

    with configured(config) as settings:
        errors = Console(stderr=True)
        errors.print(RESEARCH_USE_ONLY, style="bold")
        detector = cache(lambda: load_detector(settings))
        for study in run(path, settings, detector, out, errors.print):
            typer.echo(json.dumps(study) if as_json else summary(study))


def bench(
    config: Config = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="Also send to this storage SCP; repeatable."),
    ] = None,
) -> None:
    """Measure receive throughput, volume building, ms per slice, and door-to-flag."""
    from node.cli.bench import bench as run

    with configured(config) as settings:
        run(settings, peer or [])
