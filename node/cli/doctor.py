"""`ichnode doctor`: checks an installation before it is trusted; each check gives one line."""

from collections.abc import Callable, Iterator
from datetime import timedelta

from rich.table import Table
from rich.text import Text

from node.arrive.archive import open_archive
from node.audit import reach
from node.cli.bundle_checks import check_detector, check_shadow
from node.cli.check import Check
from node.cli.console.terminal import outside, terminal
from node.cli.watch_checks import check_charts, check_reports, check_watching
from node.clock import utc_now
from node.deliver import probe
from node.depot import depot_of
from node.dicom.net.association import Status
from node.dicom.net.tls import good_until
from node.disk import room_of
from node.errors import IchnodeError, Outage
from node.folder_lock import holder
from node.outages import require_room
from node.serve import cannot_listen, require_good_certificate, require_safe_page
from node.settings import LOOPBACK, Caller, Settings, is_this_machine
from node.worklist import Worklist

RENEW = timedelta(days=30)
"""How long before a certificate expires this is noted. Chosen: an authority may take weeks."""
VERDICT_STYLES = {
    "ok": ("✓ ok", "green"),
    "note": ("! note", "yellow"),
    "bad": ("✗ bad", "bold red"),
}


Examination = Callable[[Settings], Iterator[Check]]


def examine(settings: Settings) -> int:
    """Print every check; return 1 if one is bad, else 0."""
    table = Table(title="ichnode doctor - research use only")
    for name in ("", "what", "found"):
        table.add_column(name, overflow="fold")
    checks = [found for check in CHECKS for found in _found(check, settings)]
    for check in checks:
        table.add_row(
            Text(*VERDICT_STYLES[check.verdict]), outside(check.what), outside(check.found)
        )
    terminal().print(table)
    return int(any(check.verdict == "bad" for check in checks))


def _found(check: Examination, settings: Settings) -> Iterator[Check]:
    """Return what a check finds; one that fails itself is a bad line."""
    try:
        yield from check(settings)
    except (IchnodeError, OSError) as error:
        yield Check("bad", check.__name__.removeprefix("check_"), str(error))


def check_disk(settings: Settings) -> Iterator[Check]:
    """Check that the data folder can be written and has room."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        require_room(settings.data_dir)
    except (OSError, Outage) as error:
        found = f"{error}; the roles wait until it is over, and go on by themselves"
        yield Check("bad", "data folder", found)
        return
    free_mb = room_of(settings.data_dir).free_mb
    verdict = "ok" if free_mb > 2 * settings.receive.min_free_mb else "note"
    if free_mb < settings.receive.min_free_mb:
        verdict = "bad"
    yield Check(
        verdict,
        f"data folder {settings.data_dir.absolute()}",
        f"writable, {free_mb} MB free; below {settings.receive.min_free_mb} MB we answer A700",
    )


def check_storage(settings: Settings) -> Iterator[Check]:
    """Check that an object can be put in the object store, if there is one."""
    storage = settings.storage
    if not storage.is_on:
        return
    what = f"object store {storage.url}" + (f" at {storage.endpoint}" if storage.endpoint else "")
    try:
        depot_of(settings).require_reachable()
    except (IchnodeError, OSError) as error:
        found = f"{error}; the roles wait until it is over, and go on by themselves"
        yield Check("bad", what, found)
        return
    plain = storage.endpoint.startswith("http://") and storage.insecure
    yield Check("note" if plain else "ok", what, "writable" + ("; not encrypted" if plain else ""))


def check_database(settings: Settings) -> Iterator[Check]:
    """Check that the database is of this version; count its cases."""
    try:
        with Worklist(settings.url) as worklist:
            counts = ", ".join(f"{n} {state}" for state, n in worklist.views.counts().items() if n)
            held_up = worklist.deliveries.held_up()
            dead = worklist.commitments.dead()
        yield Check("ok", "database", f"cases: {counts or 'none yet'}")
        for one in held_up:
            yield Check("note", "deliveries wait", str(one))
        for reports in dead:
            remedy = "set its host and port in receive.callers, and have it ask again"
            yield Check("note", "reports of commitment", f"{reports}; {remedy}")
    except IchnodeError as error:
        yield Check("bad", "database", str(error))


def check_node(settings: Settings) -> Iterator[Check]:
    """Say whether `ichnode serve` runs on this data folder."""
    process = holder(settings.data_dir)
    found = f"process {process} uses this data folder" if process else "none on this data folder"
    yield Check("ok", "ichnode serve", found)


def check_ports(settings: Settings) -> Iterator[Check]:
    """Check that the ports to listen on are free."""
    adt = settings.receive.adt
    for name, host, port in (
        ("DICOM", settings.receive.host, settings.receive.port),
        ("triage page", settings.web.host, settings.web.port),
        *([("ADT", adt.host, adt.port)] if adt.port else []),
    ):
        error = cannot_listen(host, port)
        if error is None:
            yield Check("ok", f"{name} port {host}:{port}", "free")
        else:
            yield Check("note", f"{name} port {host}:{port}", f"{error.strerror} (serving?)")


def check_page(settings: Settings) -> Iterator[Check]:
    """Check that the page is not open to who is not signed in, but on this machine."""
    try:
        require_safe_page(settings)
    except IchnodeError as error:
        yield Check("bad", "who sees the page", str(error))
        return
    here = settings.web.host in LOOPBACK
    found = "this machine" if here else "who signs in, from other machines too"
    yield Check("ok", "who sees the page", found)


def check_callers(settings: Settings) -> Iterator[Check]:
    """Say which callers may send, and whether that is encrypted."""
    receive = settings.receive
    callers = [*receive.allowed_callers, *(_caller(caller) for caller in receive.callers)]
    how = "by TLS" if receive.tls.is_on else "not encrypted (receive.insecure)"
    if callers:
        verdict = "note" if receive.is_open and not receive.tls.is_on else "ok"
        said = f"; {how}" if receive.is_open or receive.tls.is_on else ""
        yield Check(verdict, "who may send", ", ".join(callers) + said)
    else:
        yield Check("note", "who may send", "this machine only: set receive.allowed_callers")
    adt = settings.receive.adt
    if adt.port:
        verdict = "ok" if adt.allowed_addresses else "note"
        found = ", ".join(adt.allowed_addresses) or "this machine only: set allowed_addresses"
        yield Check(verdict, "who may send ADT", found)


def _caller(caller: Caller) -> str:
    """Return a caller in the words of its entry."""
    at = f"@{caller.address}" if caller.address else ""
    shows = f" with {caller.certificate}" if caller.certificate else ""
    return f"{caller.ae_title}{at}{shows} ({', '.join(caller.may)})"


def check_certificates(settings: Settings) -> Iterator[Check]:
    """Check that the certificates which the node shows are good, and for how long."""
    try:
        require_good_certificate(settings)
    except IchnodeError as error:
        yield Check("bad", "who may send by TLS", str(error))
    shown = {"receive.tls": settings.receive.tls.certificate}
    shown |= {f"tls of {peer.name}": peer.tls.certificate for peer in settings.deliver.destinations}
    shown |= {f"tls of {peer.name}": peer.tls.certificate for peer in settings.pull.sources}
    for where, path in shown.items():
        if path:
            yield _good_for(f"certificate of {where}", path)


def _good_for(what: str, path: str) -> Check:
    try:
        until = good_until(path)
    except IchnodeError as error:
        return Check("bad", what, str(error))
    left = until - utc_now()
    verdict = "bad" if left <= timedelta(0) else "note" if left <= RENEW else "ok"
    found = f"{path} {'expired' if verdict == 'bad' else 'expires'} on {until:%Y-%m-%d}"
    return Check(verdict, what, found + ("" if verdict == "ok" else ": renew it"))


def check_destinations(settings: Settings) -> Iterator[Check]:
    """Check that each destination answers; none gets anything that counts as a result."""
    if not settings.deliver.destinations:
        yield Check("note", "destinations", "none: results stay here; set deliver.destinations")
    for destination in settings.deliver.destinations:
        what = f"{destination.name} ({destination.where})"
        try:
            found = probe(destination, settings)
        except IchnodeError as error:
            yield Check("bad", what, str(error))
        else:
            verdict = "note" if found.endswith("not encrypted") else "ok"
            yield Check(verdict, what, found)
    for step in settings.deliver.escalations:
        told = f"tells {', '.join(step.to)} if nobody acknowledges a suspected study"
        yield Check("ok", f"escalation after {step.after_minutes:g} minutes", told)


def check_sources(settings: Settings) -> Iterator[Check]:
    """Check each source: query it for an accession number that no study has."""
    for source in settings.pull.sources:
        what = f"{source.name} ({source.url or f'{source.ae_title}@{source.host}:{source.port}'})"
        try:
            with open_archive(source, settings, lambda *_: Status.PROCESSING_FAILURE) as archive:
                archive.studies("ICHNODE DOCTOR")
        except IchnodeError as error:
            yield Check("bad", what, str(error))
        else:
            here = source.tls.is_on or source.how == "web" or is_this_machine(source.host)
            found = "answers a query" if here else "answers a query; not encrypted"
            yield Check("ok" if here else "note", what, found)


def check_collector(settings: Settings) -> Iterator[Check]:
    """Check that the collector of the audit trail can be reached, if one is set."""
    audit = settings.audit
    if not audit.host:
        return
    what = f"audit collector {audit.host}:{audit.port}"
    try:
        reach(audit)
    except IchnodeError as error:
        yield Check("bad", what, str(error))
    else:
        yield Check("ok", what, "answers, by TLS")


CHECKS: tuple[Examination, ...] = (
    check_disk,
    check_storage,
    check_database,
    check_detector,
    check_shadow,
    check_node,
    check_ports,
    check_page,
    check_callers,
    check_certificates,
    check_destinations,
    check_sources,
    check_collector,
    check_watching,
    check_reports,
    check_charts,
)
