"""`ichnode doctor`: what an admin checks before trusting an installation, each check one line."""

import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from node.arrive.pull import open_archive
from node.cases.detector import load_detector
from node.dicom.net.association import Status
from node.dicom.net.store_scu import echo
from node.errors import IchnodeError
from node.settings import Settings
from node.worklist import Worklist

LOOKS = {"ok": ("✓ ok", "green"), "note": ("! note", "yellow"), "bad": ("✗ bad", "bold red")}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: `verdict` is ok, note (worth a thought) or bad (will not work)."""

    verdict: str
    what: str
    found: str


def examine(settings: Settings) -> int:
    """Print every check; return 1 if one is bad, else 0."""
    table = Table(title="ichnode doctor - research use only")
    for name in ("", "what", "found"):
        table.add_column(name, overflow="fold")
    checks = [check for look in LOOKED_AT for check in look(settings)]
    for check in checks:
        table.add_row(Text(*LOOKS[check.verdict]), check.what, check.found)
    Console().print(table)
    return int(any(check.verdict == "bad" for check in checks))


def _disk(settings: Settings) -> Iterator[Check]:
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        (settings.data_dir / ".doctor").write_bytes(b"")
        (settings.data_dir / ".doctor").unlink()
    except OSError as error:
        yield Check("bad", f"data folder {settings.data_dir}", str(error))
        return
    free_mb = shutil.disk_usage(settings.data_dir).free >> 20
    verdict = "ok" if free_mb > 2 * settings.receive.min_free_mb else "note"
    if free_mb < settings.receive.min_free_mb:
        verdict = "bad"
    yield Check(
        verdict,
        f"data folder {settings.data_dir.absolute()}",
        f"writable, {free_mb} MB free; below {settings.receive.min_free_mb} MB we answer A700",
    )


def _database(settings: Settings) -> Iterator[Check]:
    try:
        with Worklist(settings.url) as worklist:
            counts = ", ".join(f"{n} {state}" for state, n in worklist.views.counts().items() if n)
        yield Check("ok", "database", f"cases: {counts or 'none yet'}")
    except IchnodeError as error:
        yield Check("bad", "database", str(error))


def _detector(settings: Settings) -> Iterator[Check]:
    try:
        detector = load_detector(settings)
    except IchnodeError as error:
        yield Check("bad", "reader", str(error))
        return
    yield Check("ok", "reader", f"{detector.name} on {detector.runtime}, golden output reproduced")


def _ports(settings: Settings) -> Iterator[Check]:
    for name, host, port in (
        ("DICOM", settings.receive.host, settings.receive.port),
        ("triage page", settings.web.host, settings.web.port),
    ):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                yield Check("note", f"{name} port {host}:{port}", f"{error.strerror} (serving?)")
            else:
                yield Check("ok", f"{name} port {host}:{port}", "free")


def _callers(settings: Settings) -> Iterator[Check]:
    callers = settings.receive.allowed_callers
    if callers:
        yield Check("ok", "who may send", ", ".join(callers))
    else:
        yield Check("note", "who may send", "this machine only: set receive.allowed_callers")


def _destinations(settings: Settings) -> Iterator[Check]:
    if not settings.deliver.destinations:
        yield Check("note", "destinations", "none: results stay here; set deliver.destinations")
    for destination in settings.deliver.destinations:
        where = f"{destination.ae_title}@{destination.host}:{destination.port}"
        try:
            status = echo(destination, settings)
        except IchnodeError as error:
            yield Check("bad", f"{destination.name} ({where})", str(error))
        else:
            verdict = "ok" if status == 0 else "bad"
            yield Check(verdict, f"{destination.name} ({where})", f"C-ECHO 0x{status:04X}")


def _sources(settings: Settings) -> Iterator[Check]:
    """Ask each source for a study that it does not have, as `ichnode pull` would for one it has."""
    for source in settings.pull.sources:
        what = f"{source.name} ({source.url or f'{source.ae_title}@{source.host}:{source.port}'})"
        try:
            with open_archive(source, settings, lambda *_: Status.PROCESSING_FAILURE) as archive:
                archive.studies("ICHNODE DOCTOR")
        except IchnodeError as error:
            yield Check("bad", what, str(error))
        else:
            yield Check("ok", what, "answers a query")


LOOKED_AT: tuple[Callable[[Settings], Iterator[Check]], ...] = (
    _disk,
    _database,
    _detector,
    _ports,
    _callers,
    _destinations,
    _sources,
)
