"""`ichnode archive`: what is asked of a whole archive. Its commands have modules of their own."""

import typer

archive = typer.Typer(
    no_args_is_help=True,
    help="Proof on the department's own patients: head CTs found and read, labels from reports, "
    "minutes saved, charts.",
)
