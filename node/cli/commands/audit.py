"""`ichnode audit`: who signed in, saw a study or decided something, and that nobody changed it."""

import json
from typing import Annotated

import typer

from node.cli.commands.invocation import Config, Json, configured, print_list
from node.cli.console.terminal import say

audit = typer.Typer(no_args_is_help=True, help="The audit trail: who did what, and when.")

Study = Annotated[
    str | None, typer.Option("--study", metavar="UID", help="Of one StudyInstanceUID.")
]


@audit.command("list")
def audit_list(
    config: Config = None,
    study: Study = None,
    most: Annotated[int, typer.Option("--limit", min=1, help="The newest so many rows.")] = 200,
    as_json: Json = False,
) -> None:
    """Print who signed in, saw a study, gave feedback or decided something, oldest first."""
    from node.cli.console.audit import audit_table
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        entries = worklist.audit.entries(study, most)
        print_list(entries, audit_table, "nothing is recorded", as_json=as_json)


@audit.command("verify")
def audit_verify(
    known: Annotated[
        str, typer.Option("--known", metavar="DIGEST", help="A digest that it once ended with.")
    ] = "",
    config: Config = None,
) -> None:
    """Check that no row was changed, removed or moved; print the digest that the trail ends with.

    Keep that digest elsewhere: with --known it also tells rows that were removed at the end, and a
    trail that was made anew as a whole. Status 1 if something is wrong.
    """
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        found, last = worklist.audit.faults(known)
        for fault in found:
            say(fault, fault=True)
        if found:
            raise typer.Exit(1)
        say("no row was changed, removed or moved")
        typer.echo(last)


@audit.command("export")
def audit_export(
    config: Config = None,
    study: Study = None,
    form: Annotated[
        str, typer.Option("--format", help="json, or dicom: the audit messages of PS3.15 A.5.")
    ] = "json",
) -> None:
    """Print every row, oldest first, one a line: as JSON with the chain's digests, or as XML."""
    from node.audit import dicom_message
    from node.errors import BadConfiguration
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        if form not in ("json", "dicom"):
            raise BadConfiguration(f"no format {form!r}: json, dicom")
        entries = worklist.audit.entries(study)
        studies = {one.study_instance_uid for one in entries if one.study_instance_uid}
        patients = worklist.audit.patients(studies) if form == "dicom" else {}
        for entry in entries:
            if form == "dicom":
                typer.echo(dicom_message(entry, patients, settings).decode().replace("\n", ""))
            else:
                typer.echo(json.dumps(entry.to_json() | {"digest": entry.digest}))
