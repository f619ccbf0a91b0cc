"""`ichnode archive report`: the acceptance report of a proof."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.commands.invocation import installed, one_line_errors
from node.cli.console.terminal import say
from node.errors import Permanent

JSON, HTML = "report.json", "report.html"


Words = Annotated[
    bool,
    typer.Option(
        "--words",
        help="With sentences of the reports and people's notes, which may name a patient.",
    ),
]


def report(
    proof: Annotated[
        Path | None,
        typer.Argument(
            metavar="PROOF",
            exists=True,
            file_okay=False,
            help="Folder of the proof.",
            show_default=False,
        ),
    ] = None,
    limits: Annotated[
        Path | None,
        typer.Option(
            metavar="LIMITS.toml",
            dir_okay=False,
            help="What you demanded beforehand; else PROOF/limits.toml, if it is there.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to write; else PROOF.", show_default=False),
    ] = None,
    words: Words = False,
    example: Annotated[bool, typer.Option("--example", help="Print such limits.")] = False,
) -> None:
    """Say how good the node is on this archive, and whether it meets limits written beforehand.

    Writes report.html, one file that loads nothing and can be printed, and report.json, whose rows
    give each of its figures. What people adjudicated goes before the reports' labels, and a sample
    of agreements stands for the studies like it, with an interval that knows how small it was. A
    study that was not analysed never counts as "no finding". Research use only.

        ichnode archive report --example > /data/proof/limits.toml

        ichnode archive report /data/proof

    Status 1 if a limit is not met.
    """
    if example:
        from node.archive.acceptance import EXAMPLE

        typer.echo(EXAMPLE, nl=False)
        return
    if proof is None:
        raise typer.BadParameter("name the folder of the proof")
    os.umask(0o077)  # rows of patients are their reader's alone
    with one_line_errors():
        told = _made(proof, limits, with_words=words)
        _write(out or proof, told, proof)
        _summarise(told, (out or proof) / HTML)


def _made(folder: Path, limits: Path | None, *, with_words: bool) -> dict[str, Any]:
    from node.archive.acceptance import acceptance_report, read_limits
    from node.archive.adjudication import read_decisions, read_sample
    from node.archive.evidence import read_joined
    from node.archive.proof import Proof

    proof = Proof(folder)
    file = limits or (proof.limits if proof.limits.exists() else None)
    demanded = read_limits(file) if file else None
    with installed("archive"):
        joined = read_joined(proof)
    decisions, sample = read_decisions(proof.decisions), read_sample(proof.sample)
    now = datetime.now(UTC)
    return acceptance_report(joined, decisions, sample, demanded, now, with_words=with_words)


def _write(folder: Path, told: dict[str, Any], proof: Path) -> None:
    from node.archive.acceptance import key_pictures, report_page, shown
    from node.archive.proof import Proof

    html = report_page(told, key_pictures(Proof(proof), shown(told)))
    written(folder, "report", {JSON: json.dumps(told, indent=1) + "\n", HTML: html})


def written(folder: Path, what: str, files: Mapping[str, str]) -> None:
    """Leave files in a folder, by their names, each whole; `what` they are, for the error.

    Raises
    ------
    Permanent
        If they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            unfinished = folder / f".{name}.{os.getpid()}"
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(folder / name)
    except OSError as error:
        raise Permanent(f"{folder}: the {what} cannot be written: {error.strerror}") from error


def _summarise(told: dict[str, Any], html: Path) -> None:
    figures = told["figures"]
    for name in ("sensitivity", "specificity", "ppv", "npv"):
        say(f"{name}: {_figure(figures[name])}")
    for remark in told["remarks"]:
        say(remark, err=True)
    say(f"{figures['studies']} studies, by {told['reference']['by']}: {html}")
    limits = told["limits"]
    if limits is None:
        say("no limits: no verdict")
        return
    if not limits["beforehand"]:
        say("the limits were changed after the first study was read", err=True, fault=True)
    for line in limits["lines"]:
        say(f"{line['verdict']}: {line['what']} at least {line['limit']:g}")
    say(f"limits: {limits['verdict']}", fault=limits["verdict"] == "not met")
    if limits["verdict"] == "not met":
        raise typer.Exit(1)


def _figure(found: dict[str, Any]) -> str:
    if found["value"] is None:
        return f"too few to say ({found['hits']:.0f} of {found['of']:.0f})"
    return f"{found['value']:.1%} ({found['low']:.1%} to {found['high']:.1%})"
