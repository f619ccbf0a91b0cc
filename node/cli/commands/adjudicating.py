"""`ichnode archive adjudicate`: a person decides what node and report disagree on."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.commands.invocation import installed, one_line_errors
from node.cli.console.terminal import say
from node.errors import Permanent
from node.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from node.archive.adjudication import Sample
    from node.archive.evidence import Study
    from node.archive.proof import Proof


def adjudicate(
    proof: Annotated[
        Path,
        typer.Argument(metavar="PROOF", exists=True, file_okay=False, help="Folder of the proof."),
    ],
    who: Annotated[str, typer.Option(metavar="NAME", help="Who decides; else the page asks.")] = "",
    blind: Annotated[
        bool, typer.Option("--blind", help="Hide what the node and the report say.")
    ] = False,
    agreements: Annotated[
        int,
        typer.Option(min=1, help="How many of each kind that agrees are asked about, too."),
    ] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the random sample.")] = 1,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of the page, on this machine alone; 0: any.")
    ] = 0,
    feeds: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Write what is settled for `ichnode review select`, and serve no page.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Have a person decide what node and report disagree on, and a random sample of what agrees.

    Prints an address for a browser on this machine; it is good once. The page shows all slices of a
    study and takes bleeds, none or cannot tell, subtypes and a note, by keys. Each answer is a line
    of PROOF/decisions.jsonl, which is on the disk when the page says so. The sample is drawn when
    the command first runs, and kept in PROOF/sample.json: it says what a study stands for in
    `ichnode archive report`. A second person starts the command again; their agreement stands on
    the page and in the report. For example:

        ichnode archive adjudicate /data/proof --who anna --blind

        ichnode archive adjudicate /data/proof --feeds results.csv

    Ctrl-C ends it.
    """
    from node.archive.evidence import read_joined
    from node.archive.proof import Proof

    os.umask(0o077)  # decisions on patients are their reader's alone
    with one_line_errors():
        folder = Proof(proof)
        with installed("archive"):
            joined = read_joined(folder)
        for remark in joined.remarks:
            say(remark, err=True)
        if feeds is not None:
            _feed(folder, joined.studies, feeds)
            return
        sample = _sample(folder, joined.studies, agreements, seed)
        _serve(folder, joined.studies, sample, who, port, blind=blind)


def _feed(proof: "Proof", studies: "Sequence[Study]", feeds: Path) -> None:
    from node.archive.adjudication import read_decisions, write_feeds

    decisions = read_decisions(proof.decisions)
    number = write_feeds(feeds, studies, decisions)
    annotators = " ".join(f'--annotator "{who}"' for who in decisions.people())
    say(f"{counted(number, 'study')} that people settled: {feeds}")
    say(f"ichnode review select {feeds} {annotators} --reader NAME --out REVIEW")


def _sample(proof: "Proof", studies: "Sequence[Study]", agreements: int, seed: int) -> "Sample":
    """Return the sample that was drawn once, or draw it now."""
    from node.archive.adjudication import draw, read_sample

    sample = read_sample(proof.sample)
    if sample is None:
        sample = draw(studies, agreements, seed, datetime.now(UTC))
        if not sample.asked:
            raise Permanent("no study was analysed: there is nothing to ask about")
        sample = _first(proof, sample)
    if (sample.agreements, sample.seed) != (agreements, seed):
        say(
            f"{proof.sample.name} was drawn with --agreements {sample.agreements} --seed "
            f"{sample.seed}, and stays as it is",
            err=True,
        )
    now = sum(study.outcome.analysed for study in studies)
    if sample.frame != now:
        say(
            f"{counted(now, 'study is', 'studies are')} analysed now, and {sample.frame} when "
            f"{proof.sample.name} was drawn: the others are not asked about. To draw anew take it "
            "away; decisions stay",
            err=True,
        )
    return sample


def _first(proof: "Proof", drawn: "Sample") -> "Sample":
    """Write a sample; return it, or the one that another command has written meanwhile."""
    from node.archive.adjudication import read_sample, write_sample

    try:
        write_sample(proof.sample, drawn)
    except Permanent:
        there = read_sample(proof.sample)
        if there is None:
            raise
        return there
    return drawn


def _serve(
    proof: "Proof",
    studies: "Sequence[Study]",
    sample: "Sample",
    who: str,
    port: int,
    *,
    blind: bool,
) -> None:
    from node.archive.adjudication import Desk
    from node.web import serve_desk

    desk = Desk(proof, studies, sample, lambda: datetime.now(UTC), who=who, blind=blind)
    asked = counted(len(sample.asked), "study is", "studies are")
    say(f"{asked} asked about, of {sample.frame} analysed")

    def ready(url: str) -> None:
        say("open this address in a browser on this machine; it is good once. Ctrl-C ends the page")
        typer.echo(url)

    serve_desk(proof, desk, port, lambda: datetime.now(UTC), ready)
