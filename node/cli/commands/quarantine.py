"""`ichnode quarantine`: list what was set aside, look at it, release it, discard it."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.commands.invocation import By, Config, Json, configured, print_list
from node.cli.console.terminal import say
from node.errors import Permanent

if TYPE_CHECKING:
    from node.settings import Settings
    from node.worklist import Signature, Worklist

MOST_NUMBERS = 10_000
"""A wider group is a slip of the pen."""

quarantine = typer.Typer(
    no_args_is_help=True, help="What was received and set aside: look at it, release or discard it."
)
EntryNumber = Annotated[int, typer.Argument(metavar="NUMBER", help="As in `quarantine list`.")]
EntryNumbers = Annotated[
    list[str] | None,
    typer.Argument(metavar="NUMBER", help='As in `quarantine list`; also groups, "2-4".'),
]
StudyOption = Annotated[
    str | None,
    typer.Option(
        "--study",
        metavar="STUDY",
        help="Everything open of a study: StudyInstanceUID, accession number or case number.",
    ),
]
Why = Annotated[str, typer.Option("--why", help="For the record; no patient's name.")]


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
    from node.cli.console.quarantine import quarantine_table
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        entries = worklist.quarantine.listed(decided=everything)
        print_list(entries, quarantine_table, "nothing is in quarantine", as_json=as_json)


@quarantine.command("show")
def quarantine_show(number: EntryNumber, config: Config = None) -> None:
    """Show one object: whose it says it is, and where the worklist contradicts it.

    It names PatientID and birth date, never the patient's name.
    """
    from node.arrive.quarantine import examine
    from node.cli.console.quarantine import quarantined_object
    from node.depot import depot_of
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        entry = worklist.quarantine.get(number)
        typer.echo(quarantined_object(examine(entry, worklist.quarantine, depot_of(settings))))


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

        ichnode quarantine release 7 9-12 --why "ID corrected at CT1"

        ichnode quarantine release --study 1.2.840.99.1 --by "A. Admin"
    """
    from node.arrive.quarantine import chosen, release
    from node.cli.console.quarantine import decided
    from node.depot import depot_of

    with decision(config, by, why) as (settings, worklist, signed):
        found = release(
            chosen(worklist, numbers(number or []), study),
            worklist.quarantine,
            depot_of(settings),
            signed,
        )
        for result in found:
            say(decided(result, "is filed"))
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
    from node.cli.console.quarantine import decided
    from node.depot import depot_of

    with decision(config, by, why) as (settings, worklist, signed):
        entries = chosen(worklist, numbers(number or []), study)
        for result in discard(
            entries, worklist.quarantine, depot_of(settings), signed, delete=delete
        ):
            say(decided(result, "is discarded"))


def numbers(groups: Sequence[str]) -> list[int]:
    """Return the numbers that a person lists, such as "2-4" and "7, 9".

    Raises
    ------
    Permanent
        If one of them is no number and no group.
    """
    found: list[int] = []
    for text in ",".join(groups).split(","):
        if not text.strip():
            continue
        group = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", text)
        if group is None:
            raise Permanent(f"{text.strip()!r} is no number and no group: write 7 or 2-4")
        first, last = int(group[1]), int(group[2] or group[1])
        if not 0 <= last - first < MOST_NUMBERS:
            raise Permanent(f"{text.strip()!r} is no group of up to {MOST_NUMBERS} numbers")
        found += range(first, last + 1)
    return found


@contextmanager
def decision(
    config: Path | None, by: str | None, why: str
) -> Iterator[tuple["Settings", "Worklist", "Signature"]]:
    """Yield what a decision is made on, and who signs it."""
    from node.clock import utc_now
    from node.worklist import Actor, Signature, Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        yield settings, worklist, Signature(Actor.at_terminal(by).name, utc_now(), why)
