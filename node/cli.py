"""The command line: parses and calls. Heavy imports wait inside commands, so --help is quick."""

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from node import log
from node.errors import BadConfiguration, IchnodeError
from node.settings import Settings, load
from training.review_commands import app as review

app = typer.Typer(
    name="ichnode",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A DICOM node that triages intracranial hemorrhage on head CT. RESEARCH USE ONLY.",
    epilog="Start with `ichnode demo`; then `ichnode doctor`, `ichnode db upgrade`, "
    "`ichnode serve`.",
)
db = typer.Typer(no_args_is_help=True, help="The worklist's database.")
app.add_typer(db, name="db")
app.add_typer(review, name="review")

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="ICHNODE_CONFIG",
        help="Settings in TOML; config/ichnode.toml explains each key.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON: a stable interface.")]
PeerName = Annotated[
    str, typer.Argument(metavar="PEER", help="AE_TITLE@HOST:PORT or a destination")
]
RecipePath = Annotated[
    Path,
    typer.Argument(metavar="RECIPE", exists=True, dir_okay=False, help="As in config/recipes."),
]


@app.command()
def serve(
    config: Config = None,
    role: Annotated[str, typer.Option(help="all, or one of receive, work, deliver, web.")] = "all",
) -> None:
    """Run the node until it is told to stop (SIGTERM, Ctrl-C).

    `--role all` runs each role in a process of its own and starts again what dies.
    """
    from node.serve import ROLES, run_role, stop_on_signal, supervise
    from node.worklist.store import upgrade

    with _settings(config) as settings:
        known = {name: name for name in ROLES}
        if role == "all":
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            if not settings.database_url:
                upgrade(settings.url)
            supervise(config, stop_on_signal())
        elif role in known:
            run_role(known[role], settings, stop_on_signal())
        else:
            raise BadConfiguration(f"no role {role!r}: all, {', '.join(ROLES)}")


@app.command()
def demo(
    ct: Annotated[
        Path | None,
        typer.Option(exists=True, help="Push this folder of DICOM files, not the phantoms."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("var/demo"),
) -> None:
    """Show the whole way: push head CT to a node, read it, receive SEG, SR and capture back."""
    from node.demo import demo as run

    with _errors():
        run(ct, out)


@app.command()
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

    from node.analyse import analyse as run
    from node.console import summary
    from node.dicom.wording import RESEARCH_USE_ONLY
    from node.serve import load_reader

    with _settings(config) as settings:
        errors = Console(stderr=True)
        errors.print(RESEARCH_USE_ONLY, style="bold")
        reader = cache(lambda: load_reader(settings))
        for study in run(path, settings, reader, out, errors.print):
            typer.echo(json.dumps(study) if as_json else summary(study))


@app.command()
def worklist(
    config: Config = None,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again as it changes.")] = False,
) -> None:
    """Print the worklist, the most urgent study first."""
    from rich.console import Console
    from rich.live import Live

    from node.console import worklist_table
    from node.serve import utc_now
    from node.worklist.store import Store

    with _settings(config) as settings, Store(settings.url) as store:
        rows = store.worklist(utc_now())
        if as_json:
            typer.echo(json.dumps([row.to_json() for row in rows], indent=1))
        elif not watch:
            Console().print(worklist_table(rows))
        else:
            with Live(worklist_table(rows), screen=True) as live:
                while not threading.Event().wait(1.0):
                    live.update(worklist_table(store.worklist(utc_now())))


@app.command()
def echo(peer: PeerName, config: Config = None) -> None:
    """Verify a DICOM peer with C-ECHO."""
    from node.deliver import echo as ask
    from node.settings import peer as find

    with _settings(config) as settings:
        status = ask(find(peer, settings), settings)
        typer.echo(f"{peer} answers 0x{status:04X}")
        raise typer.Exit(0 if status == 0 else 1)


@app.command()
def send(
    path: Annotated[Path, typer.Argument(exists=True, help="DICOM file or folder.")],
    peer: PeerName,
    config: Config = None,
) -> None:
    """Send DICOM files to a peer with C-STORE."""
    from rich.console import Console
    from rich.progress import track

    from node.deliver import send_files
    from node.settings import peer as find
    from node.spool import files_in

    with _settings(config) as settings:
        files = files_in(path)
        console = Console(stderr=True)
        results = list(
            track(
                send_files(files, find(peer, settings), settings),
                "sending",
                total=len(files),
                console=console,
            )
        )
        failed = [result for result in results if not result.stored]
        for result in failed:
            console.print(f"{result.path}: {result.message}")
        typer.echo(f"{len(results) - len(failed)} of {len(files)} stored by {peer}")
        raise typer.Exit(1 if failed or len(results) < len(files) else 0)


@app.command()
def replay(
    case: Annotated[int, typer.Argument(help="The case's number, as in the log and the page.")],
    config: Config = None,
    stage: Annotated[
        str, typer.Option("--from", help="Start again at assemble, triage or report.")
    ] = "assemble",
) -> None:
    """Run a case's stages again, from the one given; the running node does the work."""
    from node.pipeline import STAGES
    from node.serve import utc_now
    from node.worklist.store import Store

    with _settings(config) as settings, Store(settings.url) as store:
        if stage not in STAGES:
            raise BadConfiguration(f"no stage {stage!r}: {', '.join(STAGES)}")
        store.replay(case, STAGES[stage], utc_now())
        typer.echo(f"case {case} starts again at {stage}")


@app.command()
def doctor(config: Config = None) -> None:
    """Check this installation: settings, disk, database, reader, ports and peers."""
    from node.doctor import examine

    with _settings(config) as settings:
        raise typer.Exit(examine(settings))


@db.command("upgrade")
def db_upgrade(config: Config = None) -> None:
    """Create the worklist's tables, or bring them to this version."""
    from node.worklist.store import upgrade

    with _settings(config) as settings:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        upgrade(settings.url)
        typer.echo("the database is up to date")


@app.command()
def bench(
    config: Config = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="Also send to this storage SCP; repeatable."),
    ] = None,
) -> None:
    """Measure receive throughput, ms per slice of each runtime, and door-to-flag."""
    from node.bench import bench as run

    with _settings(config) as settings:
        run(settings, peer or [])


@app.command()
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
    with _training():
        from training.train import train as run

        run(recipe, tuple(stage or ()))


@app.command()
def export(
    recipe: RecipePath,
    folder: Annotated[Path, typer.Argument(help="The bundle to write.")],
    version: Annotated[str, typer.Option(help="Of the bundle, as in 0.2.0.")],
) -> None:
    """Make a bundle of a trained recipe: lock the operating point, measure, write the model card.

    The node reads it once `triage.bundle` in its settings names the folder. For example:

        ichnode export config/recipes/ich-ensemble.toml var/bundle --version 0.2.0
    """
    with _training():
        from training.export import export as run

        run(recipe, folder, version)


@app.command()
def evaluate(
    recipe: RecipePath,
    out: Annotated[Path, typer.Option(help="Where the tables and figures go.")] = Path(
        "var/evaluation"
    ),
    small: Annotated[
        bool, typer.Option("--small", help="A few phantoms only: to see the tables, for no figure.")
    ] = False,
) -> None:
    """Measure a recipe's networks and fill in the papers' tables, in Markdown, JSON and PNG.

    What is not trained yet is trained first. For example:

        ichnode evaluate config/recipes/weak-or-located.toml --out var/weak-or-located
    """
    with _training():
        from training.evaluate import evaluate as run

        run(recipe, out, small)


@contextmanager
def _training() -> Iterator[None]:
    """Say in one line what training lacks."""
    from training.recipe import BadRecipe

    with _errors():
        log.configure("INFO", as_json=False)
        logging.getLogger("training").setLevel("INFO")
        try:
            yield
        except ModuleNotFoundError as missing:
            install = "pip install 'ichnode[train]'"
            raise BadConfiguration(f"{missing.name} is not installed: {install}") from missing
        except BadRecipe as bad:
            raise BadConfiguration(str(bad)) from bad


@contextmanager
def _errors() -> Iterator[None]:
    """Print what went wrong in one line and leave with status 2."""
    try:
        yield
    except IchnodeError as error:
        typer.secho(f"ichnode: {error}", err=True, fg="red")
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@contextmanager
def _settings(config: Path | None) -> Iterator[Settings]:
    with _errors():
        settings = load(config)
        log.configure(settings.log.level, as_json=settings.log.json_lines)
        yield settings


if __name__ == "__main__":
    sys.exit(app())
