"""`ichnode train`, `export` and `evaluate`: networks from a recipe to a bundle and its figures."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from node import log
from node.cli.commands.invocation import installed, one_line_errors
from node.errors import BadConfiguration

RecipePath = Annotated[
    Path,
    typer.Argument(metavar="RECIPE", exists=True, dir_okay=False, help="As in config/recipes."),
]


def train(
    recipe: RecipePath,
    stage: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STAGE]...", help="Only these of its stages.", show_default=False),
    ] = None,
) -> None:
    """Train the networks of a recipe, on CUDA where there is any.

    Finished stages are skipped; one that was stopped goes on from its last checkpoint. On several
    devices: torchrun --nproc-per-node 4 -m training.train RECIPE. For example:

        ichnode train config/recipes/small.toml

        ichnode train config/recipes/ich-ensemble.toml sequence attention
    """
    with training_errors():
        from training.train import train as run

        run(recipe, tuple(stage or ()))


def export(
    recipe: RecipePath,
    folder: Annotated[Path, typer.Argument(help="The bundle to write.")],
    version: Annotated[str, typer.Option(help="Of the bundle, as in 0.3.0.")],
    onnx: Annotated[
        Path | None,
        typer.Option(help="A folder for the bundle's networks as ONNX, beside the bundle."),
    ] = None,
) -> None:
    """Make a bundle of a trained recipe: lock the operating point, measure, write the model card.

    The node reads it once `triage.bundle` in its settings names the folder. For example:

        ichnode export config/recipes/ich-ensemble.toml var/bundle --version 0.3.0

        ichnode export config/recipes/lite.toml var/bundle --version 0.5.0 --onnx var/onnx
    """
    with training_errors():
        from training.bundles.export import export as run
        from training.bundles.onnx_files import write_onnx

        run(recipe, folder, version)
        if onnx:
            write_onnx(folder, onnx)


def evaluate(
    recipe: RecipePath,
    out: Annotated[
        Path | None,
        typer.Option(help="Where the tables and figures go.", show_default="var/evaluation/RECIPE"),
    ] = None,
    small: Annotated[
        bool, typer.Option("--small", help="A few phantoms only: to see the tables, for no figure.")
    ] = False,
    leave_site_out: Annotated[
        bool,
        typer.Option(
            "--leave-site-out",
            help="Read each site by the networks that never saw it, beside the shipped ones.",
        ),
    ] = False,
    mimics: Annotated[
        bool,
        typer.Option("--mimics", help="Read normal heads with one mimic of blood each."),
    ] = False,
) -> None:
    """Measure a recipe's networks and fill in the papers' tables, in Markdown, JSON and PNG.

    What is not trained yet is trained first. The shipped weights, on 400 phantoms and the held-out
    patients, take about a quarter of an hour on two cores; --small takes a minute or two. For
    example:

        ichnode evaluate config/recipes/ich-ensemble.toml

        ichnode evaluate config/recipes/weak-or-located.toml --out var/weak-or-located

        ichnode evaluate config/recipes/lite.toml --leave-site-out

        ichnode evaluate config/recipes/ich-ensemble.toml --mimics
    """
    folder = out or Path("var/evaluation") / recipe.stem
    with training_errors():
        if leave_site_out:
            from training.unseen.crossing import cross_sites

            cross_sites(recipe, folder)
        elif mimics:
            from training.mimics import measure_mimics

            measure_mimics(recipe, folder, small)
        else:
            from training.evaluate import evaluate as run

            run(recipe, folder, small)


@contextmanager
def training_errors() -> Iterator[None]:
    """Say in one line what training lacks."""
    from training.recipes.recipe import BadRecipe

    with one_line_errors():
        log.configure("INFO", as_json=False)
        logging.getLogger("training").setLevel("INFO")
        try:
            with installed("train"):
                yield
        except BadRecipe as bad:
            raise BadConfiguration(str(bad)) from bad
