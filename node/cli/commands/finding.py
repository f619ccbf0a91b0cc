"""`ichnode archive find`: which head CTs an archive has."""

import json
from collections.abc import Iterable
from contextlib import closing
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.commands.invocation import Config, Json, configured, installed
from node.cli.console.terminal import say, terminal
from node.errors import BadConfiguration
from node.wording import counted

if TYPE_CHECKING:
    from node.archive.finding import Days, Gentle, Store, Tally
    from node.settings import Settings

ProofFolder = Annotated[
    Path, typer.Argument(metavar="PROOF", help="Folder of this proof; made if need be.")
]


def find(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Folder, medium with a DICOMDIR, https://HOST/PATH of a DICOMweb server, "
            "a source of pull.sources, or AE_TITLE@HOST:PORT.",
        ),
    ],
    proof: ProofFolder,
    since: Annotated[
        str, typer.Option(metavar="DAY", help="First day of study, as 2025-01-01.")
    ] = "",
    until: Annotated[
        str, typer.Option(metavar="DAY", help="Last day of study; a server's is yesterday else.")
    ] = "",
    per_minute: Annotated[
        float, typer.Option(help="Requests a minute to a server, at most.")
    ] = 60.0,
    hours: Annotated[
        str, typer.Option(metavar="FIRST-END", help="Ask a server in these hours alone: 20-6.")
    ] = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the head CTs of an archive in PROOF/catalogue.parquet, without reading a pixel.

    A row for each series, with what its headers say of scanner, kernel and slices, and why it is
    taken or not: by the rules that the node reads by. Studies and patients have pseudonyms; what
    they stand for is in PROOF/secret, which must not leave. A further call goes on where the last
    one ended, and another SOURCE is added. A server is asked by day, over one association.

        ichnode archive find /srv/export/2025 proof

        ichnode archive find pacs proof --since 2025-01-01 --until 2025-12-31 --hours 20-6

    Status 1 if no head CT was found.
    """
    with configured(config) as settings:
        with installed("archive"):
            from node.archive.finding import Days, Gentle, Store
            from node.archive.finding import hours as hours_of
            from node.archive.proof import Proof, disk_faults
        days = Days(_day("--since", since), _day("--until", until))
        if days.since and days.until and days.since > days.until:
            raise BadConfiguration(f"--since {days.since} is after --until {days.until}")
        gentle = Gentle(per_minute, hours_of(hours))
        if Path(source).exists() and source in {one.name for one in settings.pull.sources}:
            raise BadConfiguration(
                f"{source!r} is a source of pull.sources, and a folder here: ./{source} is the "
                "folder; where none of that name lies it is the source"
            )
        steps = _folder if Path(source).exists() else _server
        with disk_faults(proof), closing(Store(Proof(proof))) as store:
            try:
                steps(source, days, settings, store, gentle)
            finally:
                store.keep()
                tally = _catalogue(store, settings)
        _print(tally, proof, as_json=as_json)
        raise typer.Exit(0 if tally.studies_taken else 1)


def _day(option: str, text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise BadConfiguration(f"{option}: {text!r} is no day as in 2025-12-31") from error


def _folder(
    source: str, days: "Days", settings: "Settings", store: "Store", _gentle: "Gentle"
) -> None:
    from node.archive.finding import search_folder

    tell = partial(say, err=True)
    _follow(search_folder(Path(source), days, settings.assemble, store, tell), "folders")


def _server(
    source: str, days: "Days", settings: "Settings", store: "Store", gentle: "Gentle"
) -> None:
    from node.archive.finding import search_server
    from node.arrive.archive import open_index
    from node.settings import source as named

    try:
        peer = named(source, settings)
    except BadConfiguration as error:
        raise BadConfiguration(f"{error}; and there is no folder of that name") from error
    today = date.today()  # noqa: DTZ011  a server's days are those of this place
    first, last = days.since, days.until or date.fromordinal(today.toordinal() - 1)
    if first is None:
        raise BadConfiguration(f"{source}: a server is asked by day; --since says from which on")
    if first > last:
        raise BadConfiguration(f"--since {first} is after --until {last}")
    opened = partial(open_index, peer, settings, settings.pull.timeout_s)
    tell = partial(say, err=True)
    words = settings.assemble
    steps = search_server(peer.name, opened, (first, last), today, words, store, gentle, tell)
    _follow(steps, "days")


def _follow(steps: Iterable[tuple[int, int]], what: str) -> None:
    """Show how far the search is."""
    from rich.progress import Progress

    with Progress(console=terminal(stderr=True)) as progress:
        task = progress.add_task(what, total=None)
        for done, total in steps:
            progress.update(task, completed=done, total=total)


def _catalogue(store: "Store", settings: "Settings") -> "Tally":
    from node.archive.finding import joined

    return store.write_catalogue(joined(settings.assemble))


def _print(tally: "Tally", proof: Path, *, as_json: bool) -> None:
    """Print what the catalogue holds."""
    if as_json:
        typer.echo(json.dumps(tally.to_json(), indent=1))
        return
    if not tally.series:
        say("no CT image was found there: look at the source and at the days", err=True)
    say(
        f"{counted(tally.studies, 'study')} with {tally.series} series; taken: "
        f"{counted(tally.studies_taken, 'study')} with {tally.series_taken} series: "
        f"{proof / 'catalogue.parquet'}"
    )
