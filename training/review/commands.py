"""`ichnode review`: parses and calls. Heavy imports wait inside the commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.review.readings import Reading, Result
    from training.review.report import Report

CASES, WORKLISTS, LABELS = "cases.csv", "worklists", "labels.csv"

app = typer.Typer(
    no_args_is_help=True,
    help="Have people read again, blind, what is difficult for AI or humans (Kang 2023).",
    epilog="In this order: `select`, readers fill in their files, `score`, `revise`.",
)

Review = Annotated[
    Path,
    typer.Argument(metavar="REVIEW", exists=True, file_okay=False, help="Folder of `select`."),
]
Files = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="READING.csv",
        help="The readers' files, each called as its reader. Default: REVIEW/worklists/*.csv",
    ),
]
Threshold = Annotated[
    float, typer.Option(min=0, max=1, help="The AI calls a case bleeding from here on.")
]


@app.command()
def select(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS.csv", exists=True, dir_okay=False, help="The AI's results."
        ),
    ],
    reader: Annotated[
        list[str], typer.Option(help="Name of a reader; repeat it for each.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="REVIEW", help="Folder to make.")],
    annotator: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Column of an annotator's votes; repeatable."),
    ] = None,
    positive_at_most: Annotated[
        float, typer.Option(min=0, max=1, help="A positive is difficult up to here.")
    ] = 0.6,
    negative_at_least: Annotated[
        float, typer.Option(min=0, max=1, help="A negative is difficult from here on.")
    ] = 0.4,
    seed: Annotated[int, typer.Option(min=0, help="Of each reader's order.")] = 0,
    semicolons: Annotated[
        bool, typer.Option("--semicolons", help="In the readers' files, for a German Excel.")
    ] = False,
    feedback: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="What `review feedback` wrote, too."),
    ] = None,
) -> None:
    r"""Pick the difficult cases and write a blind worklist for each reader.

    RESULTS.csv has one line a case and the columns case, probability (0..1;
    blank where the AI did not analyse it) and truth (1 or 0). It may also have
    StudyInstanceUID, SeriesInstanceUID, the truth of each subtype (epidural,
    intraparenchymal, intraventricular, subarachnoid, subdural) and columns of
    the annotators' votes. For example:

        case,probability,truth,R1,R2,R3,StudyInstanceUID
        head-017,0.55,1,1,1,0,1.2.826.0.1.17

        ichnode review select results.csv --out review \
          --annotator R1 --annotator R2 --annotator R3 \
          --reader anna --reader ben --reader chen

    A case is difficult for the AI if it is positive with P <= 0.6 or negative
    with P >= 0.4, and for humans if the annotators were not unanimous. What
    readers disagreed with at work is difficult too and stands first: the file
    of `ichnode review feedback` is given as --feedback, or as RESULTS.csv.

    Send each reader their own file of review/worklists and nothing else:
    review/cases.csv holds the truth. Readers see the cases' names, so let these
    say nothing. Each reader has an order of their own. They write 1 or 0 under
    "any" and under each subtype (blank means not read), a confidence from 1
    (a guess) to 5 (certain) and a remark, and save the file as CSV. Put the
    files back into review/worklists, then: ichnode review score review
    """
    from training.review import readings, rules

    with _errors():
        read = readings.read_results(results, annotator or ())
        if feedback is not None:
            read = rules.with_doubts(read, readings.read_results(feedback))
        cases = rules.select(read, positive_at_most, negative_at_least)
        difficult = [each for each in cases if each.difficult]
        if not difficult:
            raise readings.ReviewError(f"none of {len(cases)} cases is difficult by these rules")
        readings.write_worklists(
            out / WORKLISTS, difficult, reader, seed, ";" if semicolons else ","
        )
        readings.write_cases(out / CASES, cases)
    counts = [sum(whom in each.difficult for each in cases) for whom in readings.DIFFICULT_FOR]
    typer.echo(
        f"{len(difficult)} of {len(cases)} cases are difficult: {counts[0]} for the AI, "
        + (f"{counts[1]} for the annotators" if annotator else "no annotators given")
        + (f", {counts[2]} by readers' disagreement" if counts[2] else "")
    )
    if unanalysed := [each.case for each in cases if each.probability is None]:
        typer.echo(
            f"{len(unanalysed)} not analysed by the AI, so only people can select them: "
            + ", ".join(unanalysed)
        )
    typer.echo(f"One file a reader in {out / WORKLISTS} (seed {seed}); {out / CASES} stays here.")
    typer.echo(f"When they are filled in: ichnode review score {out}")


@app.command()
def score(review: Review, files: Files = None, threshold: Threshold = 0.5) -> None:
    """Measure the readers and the AI on the difficult cases.

    Accuracy, sensitivity and specificity of each with 95 % intervals, Fleiss'
    kappa over the cases that all read, and McNemar's test of the AI against
    each reader. A blank cell or a missing line is a case not read, never a
    negative; a reader who read nothing is named and left out. For example:

        ichnode review score review
        ichnode review score review mail/anna.csv mail/ben.csv --threshold 0.42

    Writes score.md and score.json into the review's folder.
    Next: ichnode review revise review
    """
    from training.review.report import score_report
    from training.review.rules import agree

    with _errors():
        cases, read = _load(review, files)
        difficult = [each for each in cases if each.difficult]
        found = agree(difficult, read, threshold)
        _finish(score_report(difficult, found, threshold), review / "score")
    typer.echo(f"Next: ichnode review revise {review}")


@app.command()
def revise(
    review: Review,
    files: Files = None,
    needed: Annotated[
        int | None,
        typer.Option(
            min=1, help="Readers who can revise a truth. Default: two thirds (paper: 4 of 6)."
        ),
    ] = None,
    threshold: Threshold = 0.5,
) -> None:
    """Revise the truth by the readers' majority, and measure the AI before and after.

    A case's truth changes where at least two thirds of the readers contradict
    it (Kang 2023: 4 of 6), rounded up, or as many as --needed says. Who did not
    read the case supports neither side. For example:

        ichnode review revise review
        ichnode review revise review --needed 3

    Writes revision.md and revision.json, which list the revised truths and the
    undecided cases with votes and remarks (for the consensus meeting), and
    labels.csv: the labels of all cases for training, blank where not labelled.
    """
    from training.review import revision
    from training.review.readings import write_labels
    from training.review.report import revision_report

    with _errors():
        cases, read = _load(review, files)
        verdicts = revision.revise([each for each in cases if each.difficult], read, needed)
        after = revision.revised_cases(cases, verdicts)
        measured = revision.before_and_after(cases, after, threshold)
        _finish(revision_report(verdicts, read, measured), review / "revision")
        write_labels(review / LABELS, after, {each.case for each in verdicts if each.revised})
    typer.echo(f"The labels of all {len(after)} cases, for training: {review / LABELS}")


def _load(
    review: Path, files: list[Path] | None
) -> tuple[list[Result], dict[str, dict[str, Reading]]]:
    """Return all cases of a review, and the readings by reader and case."""
    from training.review.readings import read_results
    from training.review.rules import collect

    cases = read_results(review / CASES)
    found = files or sorted((review / WORKLISTS).glob("*.csv"))
    return cases, collect(found, [each for each in cases if each.difficult])


def _finish(report: Report, path: Path) -> None:
    """Write the report and show it."""
    from rich.console import Console

    report.save(path)
    console = Console()
    for part in report.for_terminal():
        console.print(part, highlight=False)
    typer.echo(f"Written: {path}.md, {path}.json")


@contextmanager
def _errors() -> Iterator[None]:
    """Print what went wrong in one line and leave with status 2."""
    from training.review.readings import ReviewError

    try:
        yield
    except ReviewError as error:
        typer.secho(f"ichnode: {error}", err=True, fg="red")
        raise typer.Exit(2) from error
