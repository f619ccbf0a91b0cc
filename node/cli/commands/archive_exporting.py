"""`ichnode archive export`: studies that people settled, for a study of several sites."""

import json
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node import log
from node.cli.commands.archive_reading import Hours, MoveToHere, PerMinute
from node.cli.commands.invocation import Config, Json, configured, installed
from node.cli.console.terminal import say
from node.wording import counted

if TYPE_CHECKING:
    from collections.abc import Generator

    from node.archive.exporting import Exported


def export(
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="Folder of the proof.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that may leave the site.")],
    keep_faces: Annotated[
        bool, typer.Option("--keep-faces", help="Leave faces and burned-in text in the images.")
    ] = False,
    per_minute: PerMinute = 60.0,
    hours: Hours = "",
    move_to: MoveToHere = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write the studies that people settled, de-identified: images and what they decided.

    The images are those that the node read, with no attribute of the source but the place of the
    slices, manufacturer, model and kernel. What lies far from the brain becomes air, so that nobody
    can draw the face. OUT/README.txt states the profile (DICOM PS3.15) and its options. Look at a
    sample before it leaves. A further call goes on with what is not there.

        ichnode archive export proof for_the_study
    """
    with configured(config) as settings:
        with installed("archive"):
            from node.archive.exporting import write_export
            from node.archive.finding import Gentle
            from node.archive.finding import hours as hours_of
            from node.archive.proof import Proof
            from node.archive.reading import Plan
            from node.archive.reading import move_to as move_to_of
        log.configure("WARNING", as_json=settings.log.json_lines)  # no lines of the stages
        gentle = Gentle(per_minute, hours_of(hours))
        plan = Plan("", 1, 0.0, pictures=False, gentle=gentle, move_to=move_to_of(move_to))
        tell = partial(say, err=True)
        steps = write_export(Proof(proof), out, settings, plan, faces=keep_faces, tell=tell)
        with closing(steps):
            last = _follow(steps)
        if as_json:
            typer.echo(json.dumps(asdict(last), indent=1))
        else:
            say(_summary(last, out))


def _follow(steps: "Generator[Exported, None, None]") -> "Exported":
    """Tell how far the export is; return how it ended."""
    from node.wording import RESEARCH_USE_ONLY

    say(RESEARCH_USE_ONLY, err=True)
    last, told = None, -1
    for last in steps:
        there = last.before + last.done
        if there != told:
            say(f"{there} of {last.total} studies", err=True)
        told = there
    assert last is not None
    return last


def _summary(last: "Exported", out: Path) -> str:
    without = f"; {last.without} without images, truth.csv says why" if last.without else ""
    return f"{counted(last.total, 'study')} in {out}{without}. Look at a sample before it leaves."
