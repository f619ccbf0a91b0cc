"""The command line: parses and calls. Heavy imports wait inside commands, so --help is quick."""

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node import log
from node.errors import BadConfiguration, IchnodeError
from node.settings import Settings, load
from training.review_commands import app as review

if TYPE_CHECKING:
    from node.arrive.intake import Intake
    from node.worklist import Signature, Worklist

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
quarantine = typer.Typer(
    no_args_is_help=True, help="What was received and set aside: look at it, release or discard it."
)
app.add_typer(quarantine, name="quarantine")
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
EntryNumber = Annotated[int, typer.Argument(metavar="NUMBER", help="As in `quarantine list`.")]
EntryNumbers = Annotated[
    int | None, typer.Argument(metavar="NUMBER", help="As in `quarantine list`.")
]
StudyOption = Annotated[
    str | None, typer.Option("--study", metavar="UID", help="Everything open of this study.")
]
By = Annotated[
    str | None, typer.Option("--by", help="Who decides; else the name you are logged in by.")
]
Why = Annotated[str, typer.Option("--why", help="For the record; no patient's name.")]
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
    from node.worklist import upgrade

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
    from node.cli.demo import demo as run

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

    from node.cases.detector import load_detector
    from node.cli.analyse import analyse as run
    from node.cli.console import summary
    from node.wording import RESEARCH_USE_ONLY

    with _settings(config) as settings:
        errors = Console(stderr=True)
        errors.print(RESEARCH_USE_ONLY, style="bold")
        detector = cache(lambda: load_detector(settings))
        for study in run(path, settings, detector, out, errors.print):
            typer.echo(json.dumps(study) if as_json else summary(study))


@app.command("import")
def import_(
    path: Annotated[
        Path, typer.Argument(metavar="DIR", exists=True, help="Folder, medium or file.")
    ],
    config: Config = None,
    all_files: Annotated[
        bool, typer.Option("--all-files", help="Take what a DICOMDIR does not list as well.")
    ] = False,
) -> None:
    """File the CT of a folder, a CD or a single file; the running node then reads it.

    With a DICOMDIR at the folder's root, the files it lists are taken. Nothing outside the folder
    is read, and nothing in it is changed. Status 1 if something is missing. For example:

        ichnode import /media/cdrom

        ichnode import /srv/incoming/head.dcm --config /etc/ichnode/ichnode.toml
    """
    from rich.console import Console
    from rich.progress import track

    from node.arrive.intake import Intake
    from node.arrive.media import file_all, find
    from node.clock import utc_now
    from node.dicom.net.association import ACCEPTED_SOP_CLASSES
    from node.worklist import Worklist

    with _settings(config) as settings, Worklist(settings.url) as worklist:
        found = find(path, all_files=all_files)
        intake = Intake(settings, worklist.arrivals, utc_now, kinds=ACCEPTED_SOP_CLASSES)
        console = Console(stderr=True)
        with _tally(intake):
            for _ in track(
                file_all(found, intake), "importing", total=len(found.files), console=console
            ):
                pass
        raise typer.Exit(0 if intake.complete else 1)


@app.command()
def pull(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Study Instance UID.")],
    peer: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="PEER",
            help="A source of pull.sources, AE_TITLE@HOST:PORT (C-GET) or https://HOST/PATH.",
        ),
    ],
    config: Config = None,
    accession: Annotated[
        bool, typer.Option("--accession", help="STUDY is an accession number.")
    ] = False,
) -> None:
    """Fetch the CT series of a study from an archive; the running node then reads it.

    By C-GET, C-MOVE or DICOMweb, as pull.sources in the settings says. C-MOVE goes to the running
    node, whose AE title the archive must know. Status 1 if something did not come. For example:

        ichnode pull 1.2.840.113619.2.55.3 --from archive

        ichnode pull --accession A1234567 --from PACS@192.0.2.10:104
    """
    from rich.console import Console
    from rich.progress import Progress

    from node.arrive.intake import Intake
    from node.arrive.pull import fetch, filing, open_archive, order
    from node.clock import utc_now
    from node.dicom.net.association import ACCEPTED_SOP_CLASSES
    from node.settings import source as find
    from node.worklist import Worklist

    with _settings(config) as settings, Worklist(settings.url) as worklist:
        source = find(peer, settings)
        intake = Intake(settings, worklist.arrivals, utc_now, kinds=ACCEPTED_SOP_CLASSES)
        console = Console(stderr=True)
        with open_archive(source, settings, filing(source, intake)) as archive:
            wanted = order(archive, study, source, accession=accession)
            if wanted.others:
                console.print(f"not fetched: series of {', '.join(wanted.others)}")
            with _tally(intake), Progress(console=console) as progress:
                task = progress.add_task("fetching", total=wanted.objects)
                for done in fetch(wanted, archive, source, intake, worklist.arrivals):
                    progress.update(task, completed=done)
        raise typer.Exit(0 if intake.complete else 1)


@app.command()
def worklist(
    config: Config = None,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again as it changes.")] = False,
) -> None:
    """Print the worklist, the most urgent study first."""
    from rich.console import Console
    from rich.live import Live

    from node.cli.console import worklist_table
    from node.clock import utc_now
    from node.worklist import Worklist

    with _settings(config) as settings, Worklist(settings.url) as worklist:
        rows = worklist.views.worklist(utc_now())
        if as_json:
            typer.echo(json.dumps([row.to_json() for row in rows], indent=1))
        elif not watch:
            Console().print(worklist_table(rows))
        else:
            with Live(worklist_table(rows), screen=True) as live:
                while not threading.Event().wait(1.0):
                    live.update(worklist_table(worklist.views.worklist(utc_now())))


@app.command()
def echo(peer: PeerName, config: Config = None) -> None:
    """Verify a DICOM peer with C-ECHO."""
    from node.dicom.net.store_scu import echo as ask
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

    from node.arrive.media import files_in
    from node.dicom.net.store_scu import send_files
    from node.settings import peer as find

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
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when the node is done; status 1 if it failed.")
    ] = False,
) -> None:
    """Run a case's stages again, from the one given; the running node does the work.

    The result is compared with the one before: the log, the event table and --wait say "same
    result", or what differs.
    """
    from node.cases.explain import compared
    from node.cases.pipeline import PIPELINE, STAGES
    from node.clock import utc_now
    from node.states import State
    from node.worklist import Worklist

    with _settings(config) as settings, Worklist(settings.url) as worklist:
        if stage not in STAGES:
            raise BadConfiguration(f"no stage {stage!r}: {', '.join(STAGES)}")
        worklist.cases.replay(case, STAGES[stage], utc_now())
        typer.echo(f"case {case} starts again at {stage}")
        if not wait:
            return
        while (done := worklist.cases.get(case)).state in PIPELINE:
            threading.Event().wait(0.2)
        said = done.reason or compared(worklist.views.events(done.study_instance_uid), case)
        typer.echo(f"case {case} is {done.state}: {said or 'reported for the first time'}")
        raise typer.Exit(1 if done.state is State.FAILED else 0)


@app.command()
def explain(
    study: Annotated[
        str,
        typer.Argument(help="StudyInstanceUID, else an accession number, else a case's number."),
    ],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say which series of a study is read and why no other, and where the time went."""
    from rich.console import Console

    from node.cases.explain import explain_study
    from node.cli.console import explained
    from node.clock import utc_now
    from node.worklist import Worklist

    with _settings(config) as settings, Worklist(settings.url) as worklist:
        told = explain_study(study, worklist, settings, utc_now())
        if as_json:
            typer.echo(json.dumps(told.to_json(), indent=1))
        else:
            Console().print(explained(told))


@app.command()
def doctor(config: Config = None) -> None:
    """Check this installation: settings, disk, database, reader, ports and peers."""
    from node.cli.doctor import examine

    with _settings(config) as settings:
        raise typer.Exit(examine(settings))


@quarantine.command("list")
def quarantine_list(
    config: Config = None,
    everything: Annotated[
        bool, typer.Option("--all", help="What was released or discarded too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List what was received and set aside, oldest first; alike objects of a study in one line.

    MIXED_IDENTITY: another PatientID or birth date than its study's (its sender got C100).

    CHANGED: other bytes under a SOPInstanceUID that is filed (its sender got 0000).

    CANNOT_UNDERSTAND, MISMATCH: could not be filed at all (C000, A900).
    """
    from rich.console import Console

    from node.cli.console import quarantine_table
    from node.worklist import Worklist

    with _settings(config) as settings, Worklist(settings.url) as worklist:
        entries = worklist.quarantine.listed(decided=everything)
        if as_json:
            typer.echo(json.dumps([entry.to_json() for entry in entries], indent=1))
        elif entries:
            Console().print(quarantine_table(entries))
        else:
            typer.echo("nothing is in quarantine")


@quarantine.command("show")
def quarantine_show(number: EntryNumber, config: Config = None) -> None:
    """Show one object: whose it says it is, and where the worklist contradicts it.

    It names PatientID and birth date, never the patient's name.
    """
    from node.arrive.quarantine import examine
    from node.cli.console import quarantined_object
    from node.worklist import Worklist

    with _settings(config) as settings, Worklist(settings.url) as worklist:
        entry = worklist.quarantine.get(number)
        typer.echo(quarantined_object(examine(entry, worklist.quarantine, settings.data_dir)))


@quarantine.command("release")
def quarantine_release(
    number: EntryNumbers = None,
    study: StudyOption = None,
    by: By = None,
    why: Why = "",
    config: Config = None,
) -> None:
    """File objects that were set aside; the running node then reads their series again.

    MIXED_IDENTITY: you vouch that it is the same patient, as after an ID was corrected at the
    console. The object is filed under its study as it is. A series that then is of one identity
    is read, and its result carries that identity; a series that mixes two is NOT ANALYSED. What
    comes later under the other identity is quarantined again, until all of the study bears it.

    CHANGED: it takes the place of the object filed before, which stays on disk, listed by --all.

    Any other is tried again, and stays if it still cannot be filed.

    A finished case is superseded, as by a late slice. Status 1 if anything stays. For example:

        ichnode quarantine release 7 --why "ID corrected at CT1"

        ichnode quarantine release --study 1.2.840.99.1 --by "A. Admin"
    """
    from node.arrive.quarantine import chosen, release
    from node.cli.console import decided

    with _decision(config, by, why) as (settings, worklist, signed):
        found = release(
            chosen(worklist.quarantine, number, study),
            worklist.quarantine,
            settings.data_dir,
            signed,
        )
        for result in found:
            typer.echo(decided(result, "is filed"))
        raise typer.Exit(1 if any(result.stays for result in found) else 0)


@quarantine.command("discard")
def quarantine_discard(
    number: EntryNumbers = None,
    study: StudyOption = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove the bytes too; nothing brings them back.")
    ] = False,
    by: By = None,
    why: Why = "",
    config: Config = None,
) -> None:
    """Decide that objects are not filed; their rows and events stay, whatever is deleted.

    Without --delete the bytes stay as well, and `release NUMBER` still takes the decision back.
    Sent again, the same object is quarantined again. For example:

        ichnode quarantine discard 7 --why "test phantom"

        ichnode quarantine discard --study 1.2.840.99.1 --delete
    """
    from node.arrive.quarantine import chosen, discard
    from node.cli.console import decided

    with _decision(config, by, why) as (settings, worklist, signed):
        entries = chosen(worklist.quarantine, number, study)
        for result in discard(
            entries, worklist.quarantine, settings.data_dir, signed, delete=delete
        ):
            typer.echo(decided(result, "is discarded"))


@contextmanager
def _decision(
    config: Path | None, by: str | None, why: str
) -> Iterator[tuple[Settings, "Worklist", "Signature"]]:
    """Yield what a decision is made on, and who signs it."""
    from getpass import getuser

    from node.clock import utc_now
    from node.worklist import Signature, Worklist

    with _settings(config) as settings, Worklist(settings.url) as worklist:
        yield settings, worklist, Signature(by or getuser(), utc_now(), why)


@db.command("upgrade")
def db_upgrade(config: Config = None) -> None:
    """Create the worklist's tables, or bring them to this version."""
    from node.worklist import upgrade

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
    """Measure receive throughput, volume building, ms per slice, and door-to-flag."""
    from node.cli.bench import bench as run

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
    version: Annotated[str, typer.Option(help="Of the bundle, as in 0.3.0.")],
) -> None:
    """Make a bundle of a trained recipe: lock the operating point, measure, write the model card.

    The node reads it once `triage.bundle` in its settings names the folder. For example:

        ichnode export config/recipes/ich-ensemble.toml var/bundle --version 0.3.0
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

    What is not trained yet is trained first. The shipped weights, on 400 phantoms and the held-out
    patients, take about a quarter of an hour on two cores; --small takes a minute or two. For
    example:

        ichnode evaluate config/recipes/ich-ensemble.toml

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
def _tally(intake: "Intake") -> Iterator[None]:
    """Say in the end, whatever happened, what was filed and what was left out, and why."""
    try:
        yield
    finally:
        for left in intake.left_out:
            typer.secho(f"{left.name}: {left.reason}", err=True, fg="red" if left.fault else None)
        typer.echo(intake.summary)


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
