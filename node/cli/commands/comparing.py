"""`ichnode archive again` and `ichnode archive compare`: what a new bundle would change."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.commands.accepting import Words, written
from node.cli.commands.invocation import installed, one_line_errors
from node.cli.console.terminal import say

JSON, HTML = "comparison.json", "comparison.html"

Old = Annotated[
    Path, typer.Argument(metavar="OLD", exists=True, file_okay=False, help="The proof as it is.")
]


def again(
    old: Old,
    new: Annotated[Path, typer.Argument(metavar="NEW", help="A folder that is not there yet.")],
) -> None:
    """Begin a second proof of the same studies, for another bundle to read.

    NEW gets OLD's key, catalogue, labels and limits, so that each study has the same pseudonym in
    both; OLD is not changed. It gets neither outcomes nor images, and neither sample nor decisions:
    people were asked by what the old bundle said, and `compare` takes the decisions of both.
    Whoever holds the folder `secret` can trace pseudonyms back: keep NEW as well as OLD.

        ichnode archive again /data/proof /data/proof-new

        ichnode archive read /data/proof-new --config new-bundle.toml

        ichnode archive compare /data/proof /data/proof-new
    """
    os.umask(0o077)
    with one_line_errors():
        from node.archive.comparison import begin_again
        from node.archive.proof import Proof

        copied = begin_again(Proof(old), Proof(new))
        say(f"{new} has {', '.join(copied)} of {old}; nothing in it was read yet")


def compare(
    old: Old,
    new: Annotated[
        Path,
        typer.Argument(
            metavar="NEW",
            exists=True,
            file_okay=False,
            help="The proof that `ichnode archive again` made, read by the new bundle.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to write; else NEW.", show_default=False),
    ] = None,
    words: Words = False,
) -> None:
    """Say what changes for this archive's studies if it takes the bundle that read NEW.

    Writes comparison.html, one file that loads nothing, and comparison.json: which studies flip,
    with both scores, key slices and what people or the report say; sensitivity and specificity of
    both with the interval of their difference and McNemar's exact test; and where. What a study was
    in truth is what people decided in either proof, else what its report says. Research use only.

        ichnode archive compare /data/proof /data/proof-new

    Status 1 if a bleed that OLD flagged is not flagged by NEW.
    """
    os.umask(0o077)  # rows of patients are their reader's alone
    with one_line_errors():
        told, html = _made(old, new, with_words=words)
        write(out or new, told, html)
        summarise(told, (out or new) / HTML)


def _made(old: Path, new: Path, *, with_words: bool) -> tuple[dict[str, Any], str]:
    from functools import partial

    from node.archive.comparison import comparison, comparison_page, pictures_of, read_sides
    from node.archive.proof import Proof

    first, second = Proof(old), Proof(new)
    with installed("archive"):
        sides = read_sides(first, second)
    told = comparison(sides, datetime.now(UTC), with_words=with_words)
    return told, comparison_page(told, partial(pictures_of, told, first, second))


def write(folder: Path, told: dict[str, Any], html: str) -> None:
    """Leave a comparison in a folder, each file whole."""
    written(folder, "comparison", {JSON: json.dumps(told, indent=1) + "\n", HTML: html})


def summarise(told: dict[str, Any], html: Path) -> None:
    """Say what a comparison comes to; status 1 if a bleed is lost."""
    for remark in told["remarks"]:
        say(remark, err=True)
    for name in ("sensitivity", "specificity"):
        say(f"{name}: {_change(told[name])}")
    for flip, names in told["flips"].items():
        say(f"{flip}: {len(names)}")
    say(f"bleeds now flagged: {len(told['gained'])}")
    lost = len(told["lost"])
    say(f"bleeds no longer flagged: {lost}", fault=lost > 0)
    say(f"{told['studies']['both']} studies of both, by {told['reference']['by']}: {html}")
    if lost:
        raise typer.Exit(1)


def _change(found: dict[str, Any]) -> str:
    moved = found["difference"]
    if moved["value"] is None:
        return f"too few to say ({found['old']['of']:.0f})"
    return (
        f"{found['old']['value']:.1%} -> {found['new']['value']:.1%}, "
        f"{100 * moved['value']:+.1f} points ({100 * moved['low']:+.1f} to "
        f"{100 * moved['high']:+.1f}), p = {found['mcnemar']['p']:.4f}"
    )
