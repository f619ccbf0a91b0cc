"""`ichnode demo`, `analyse` and `bench`: read phantoms, a folder, and against the clock."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from node import log
from node.cli.commands.invocation import Config, Json, configured, one_line_errors
from node.cli.console.terminal import say


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
        log.configure("WARNING", as_json=False)
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

    Each study is printed as soon as it is done; with --json, as one object and line. Status 1 if
    a file that a DICOMDIR lists or that looks like DICOM could not be used, or a reading or a
    report failed; standard error says which and why.
    """
    from functools import cache, partial

    from node.cases.detector import load_detector
    from node.cli.analyse import analyse as run
    from node.cli.console.analysed import summary
    from node.wording import RESEARCH_USE_ONLY

    with configured(config) as settings:
        faults: list[str] = []

        def blame(fault: str) -> None:
            faults.append(fault)
            say(fault, err=True, fault=True)

        say(RESEARCH_USE_ONLY, err=True)
        detector = cache(lambda: load_detector(settings))
        for study in run(path, settings, detector, out, partial(say, err=True), blame):
            typer.echo(json.dumps(study) if as_json else summary(study))
        raise typer.Exit(1 if faults else 0)


class Measured(StrEnum):
    """What `ichnode bench` measures."""

    READING = "reading"
    RECEIVE = "receive"
    WORK = "work"
    WEB = "web"


def bench(
    what: Annotated[
        Measured,
        typer.Argument(
            help="reading: slices in to flag out; receive: beside other storage SCPs; "
            "work: one worker and two; web: the page."
        ),
    ] = Measured.READING,
    config: Config = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT", help="receive: also send to this storage SCP; repeatable."
        ),
    ] = None,
) -> None:
    """Measure volumes, ms per slice and door to flag; or receiving, workers or the page."""
    from node.cli.bench import bench as run
    from node.cli.bench.receiving import bench_receive
    from node.cli.bench.web import bench_web
    from node.cli.bench.working import bench_work

    with configured(config) as settings:
        if what is Measured.WEB:
            bench_web()
        elif what is Measured.WORK:
            bench_work(settings)
        elif what is Measured.RECEIVE:
            bench_receive(peer or [])
        else:
            run(settings)
