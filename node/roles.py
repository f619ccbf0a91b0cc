"""What each role runs: receive and web answer the network, work reads, deliver sends.

shadow reads with another bundle, where the settings have one (`node.shadow`). deliver also runs the
jobs of the node (`node.jobs`). Settings that change while a role runs come into force at once
(`node.in_force`): receive and web take them in place, work and deliver finish what they are at with
the older ones. Which bundle is in force, work asks before each stage.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Literal

from node.audit import Trail, forwarding, noted_or_logged
from node.clock import utc_now
from node.depot import depot_of
from node.errors import IchnodeError
from node.health import Pulse, answering, pulse
from node.in_force import InForce
from node.limits import give_way
from node.log import event
from node.outages import outage_of, require_room, sit_out
from node.settings import Settings, source
from node.worklist import (
    Actor,
    Audit,
    AuditLine,
    Deed,
    Release,
    Releases,
    Worklist,
    claimant,
)

logger = logging.getLogger(__name__)

Role = Literal["receive", "work", "deliver", "web", "shadow"]
ROLES: tuple[Role, ...] = ("receive", "work", "deliver", "web", "shadow")
MOST_TURNS = 64
"""Reloads whose sending may still go on at once. A turn ends when its peers have answered, after
`deliver.timeout_s` at most. Chosen."""


def run_role(role: Role, in_force: InForce, stop: threading.Event) -> None:
    """Run one role in this process until `stop` is set; sit out an outage that it meets."""
    logger.info("started", extra=event("role_started", role=role))
    while not _has_run(role, in_force, stop):
        pass
    logger.info("stopped", extra=event("role_stopped", role=role))


def _has_run(role: Role, in_force: InForce, stop: threading.Event) -> bool:
    """Run a role until it is stopped or meets an outage, which is sat out; return which it was.

    While the database answers, the pulse tells that the role waits.
    """
    try:
        with (
            Worklist(in_force().url) as worklist,
            pulse(role, worklist.processes, utc_now, stop) as alive,
        ):
            try:
                with _noted(role, worklist.audit):
                    _RUN[role](in_force, worklist, stop, alive)
                return True
            except (IchnodeError, OSError) as error:
                _sit_out(error, role, in_force, stop)
    except (IchnodeError, OSError) as error:
        _sit_out(error, role, in_force, stop)
    return False


def _sit_out(error: Exception, role: Role, in_force: InForce, stop: threading.Event) -> None:
    """Return once an outage is over; raise what is none, or what comes while the role stops."""
    outage = outage_of(error)
    if outage is None or stop.is_set():
        raise error
    settings = in_force()
    with _still_answering(role, settings):
        sit_out(outage, role, partial(_require_over, settings), stop)


@contextmanager
def _still_answering(role: Role, settings: Settings) -> Iterator[None]:
    """Answer the monitoring system while the role that does so waits."""
    if role != "web":
        yield
        return
    with answering(settings, None, utc_now, threading.Event()):
        yield


def _require_over(settings: Settings) -> None:
    """Raise an Outage if the disk, or the database, cannot be used."""
    require_room(settings.data_dir)
    depot_of(settings).require_reachable()
    with Worklist(settings.url):
        pass


@contextmanager
def _noted(role: Role, audit: Audit) -> Iterator[None]:
    """Note in the audit trail that a role starts, and that it stops."""
    node = Actor("ichnode", socket.gethostname())
    about = f"{role}, process {os.getpid()}"
    noted_or_logged(audit, AuditLine(node, Deed.STARTED, utc_now(), about=about))
    try:
        yield
    finally:
        noted_or_logged(audit, AuditLine(node, Deed.STOPPED, utc_now(), about=about))


def _receive(in_force: InForce, worklist: Worklist, stop: threading.Event, alive: Pulse) -> None:
    from node.arrive.adt import PatientIndex
    from node.arrive.commitment_scp import CommitmentScp
    from node.arrive.hl7_desk import Hl7Desk
    from node.arrive.index import listening
    from node.arrive.query_scp import QueryScp
    from node.arrive.storage_scp import Receiver
    from node.watch import report_takers

    settings, trail = in_force(), Trail(worklist.audit, utc_now)
    queries = QueryScp(settings, worklist.archive, trail)
    promises = (worklist.commitments, worklist.confirmations)
    commitment = CommitmentScp(settings, *promises, utc_now, trail)
    handles = (worklist.arrivals, worklist.announcements)
    index = PatientIndex(settings, worklist.patients, utc_now)
    takers = {"ADT": index.take, **report_takers(settings, worklist.reports, utc_now)}
    with (
        trail,
        Receiver(settings, *handles, utc_now, queries, trail, commitment) as receiver,
        in_force.telling(receiver.take),
        listening(settings, Hl7Desk(takers, utc_now)),
    ):
        alive.ready()
        while not stop.wait(1.0):  # with a time limit: see `stop_on_signal`
            pass


def _work(in_force: InForce, worklist: Worklist, stop: threading.Event, alive: Pulse) -> None:
    from node.arrive.asking import asker
    from node.cases.decoding import decoding_process
    from node.cases.detector import Networks, with_release
    from node.cases.pipeline import Node
    from node.cases.worker import work
    from node.watch import Proven

    networks = Networks()
    networks.of(with_release(in_force(), worklist.releases.newest()))  # before the first case
    name = claimant()
    alive.tell_if_hangs(lambda: worklist.cases.give_back(name, attempts=1))
    with decoding_process(in_force().decode) as decode:
        alive.ready()
        while not stop.is_set():
            turn = in_force.turn(stop)
            release = worklist.releases.newest()
            settings = with_release(in_force(), release)
            networks.of(settings)  # what cannot be loaded is said before a case is claimed
            node = Node.on(worklist, settings, partial(networks.of, settings), utc_now, decode)
            if settings.assemble.ask:
                asked = source(settings.assemble.ask, settings)
                ask = asker(asked, settings, worklist.announcements, utc_now)
                node = replace(node, ask=ask)
            if settings.watch.proven:
                node = replace(node, unproven=Proven(settings, worklist, utc_now))
            work(node, name, turn, partial(_is_outdated, release, worklist.releases))


def _is_outdated(release: Release | None, releases: Releases) -> bool:
    """Return whether another bundle has come into force since."""
    return releases.newest() != release


def _deliver(in_force: InForce, worklist: Worklist, stop: threading.Event, alive: Pulse) -> None:
    from node.deliver import deliver
    from node.jobs import scheduled

    promises = (worklist.commitments, worklist.confirmations)
    with (
        scheduled(in_force, worklist, utc_now, stop),
        forwarding(in_force(), worklist.audit, utc_now) as forwarder,
        in_force.telling(forwarder.take) if forwarder else nullcontext(),
        ThreadPoolExecutor(MOST_TURNS, "deliver") as turns,
    ):
        alive.ready()
        while not stop.is_set():  # what one turn is at ends while the next begins
            turn = in_force.turn(stop)
            to = (in_force(), worklist.outbox, utc_now, turn, promises)
            sending = turns.submit(deliver, *to)
            while not turn.wait(1.0):
                if sending.done():
                    sending.result()


def _web(in_force: InForce, worklist: Worklist, stop: threading.Event, alive: Pulse) -> None:
    from node.arrive.catalogue import Catalogue
    from node.web import dicomweb_service, serve_page

    settings, trail = in_force(), Trail(worklist.audit, utc_now)
    archive = dicomweb_service(settings, worklist.archive, worklist.arrivals, utc_now, trail)
    catalogue = Catalogue(worklist.archive, depot_of(settings))
    keeping = threading.Thread(target=catalogue.keep_current, args=(stop,), name="catalogue")
    keeping.start()
    try:
        with trail, answering(settings, worklist, utc_now, stop):
            alive.ready()
            serve_page(settings, worklist, utc_now, stop, [archive], in_force.telling)
    finally:
        stop.set()
        keeping.join()


def _shadow(in_force: InForce, worklist: Worklist, stop: threading.Event, alive: Pulse) -> None:
    from node.shadow.loop import read_in_shadow

    give_way()
    alive.ready()
    while not stop.is_set():
        turn = in_force.turn(stop)
        read_in_shadow(in_force(), worklist, utc_now, turn)


_RUN: dict[Role, Callable[[InForce, Worklist, threading.Event, Pulse], None]] = {
    "receive": _receive,
    "work": _work,
    "deliver": _deliver,
    "web": _web,
    "shadow": _shadow,
}
