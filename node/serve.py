"""`ichnode serve`: runs each role in a process of its own, and starts again one that dies.

receive and web answer the network, work reads, deliver sends what the outbox holds and runs the
jobs of the node (`node.jobs`). They meet in the database alone, so each can also run by itself,
under systemd or on another machine.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from errno import EADDRINUSE
from functools import cache, partial
from pathlib import Path
from typing import Literal

from node.audit import Trail, forwarding, noted_or_logged
from node.clock import utc_now
from node.errors import BadConfiguration, IchnodeError
from node.health import Pulse, StopEvent, answering, notify, pulse
from node.log import event
from node.outages import outage_of, require_room, sit_out
from node.settings import LOOPBACK, Settings, source
from node.worklist import Actor, Audit, AuditLine, Deed, Worklist, claimant

logger = logging.getLogger(__name__)

Role = Literal["receive", "work", "deliver", "web"]
ROLES: tuple[Role, ...] = ("receive", "work", "deliver", "web")
RESTART_S = (0.5, 30.0)
"""First and longest wait before a role that died is started again. An estimate; nothing was
measured."""

PORTS_S = 15.0
"""How long a new node waits for its ports. It must exceed the time in which the roles of a node
that was killed end: the receiver takes up to 10 s to store what it has begun."""


def run_role(role: Role, settings: Settings, stop: threading.Event) -> None:
    """Run one role in this process until `stop` is set; sit out an outage that it meets."""
    logger.info("started", extra=event("role_started", role=role))
    while True:
        try:
            with (
                Worklist(settings.url) as worklist,
                pulse(role, worklist.processes, utc_now, stop) as alive,
                _noted(role, worklist.audit),
            ):
                _RUN[role](settings, worklist, stop, alive)
            break
        except (IchnodeError, OSError) as error:
            outage = outage_of(error)
            if outage is None or stop.is_set():
                raise
            sit_out(outage, role, partial(_require_over, settings), stop)
    logger.info("stopped", extra=event("role_stopped", role=role))


def _require_over(settings: Settings) -> None:
    """Raise an Outage if the disk, or the database, cannot be used."""
    require_room(settings.data_dir)
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


def _receive(settings: Settings, worklist: Worklist, stop: threading.Event, alive: Pulse) -> None:
    from node.arrive.commitment_scp import CommitmentScp
    from node.arrive.index import patient_index
    from node.arrive.query_scp import QueryScp
    from node.arrive.storage_scp import Receiver

    trail = Trail(worklist.audit, utc_now)
    queries = QueryScp(settings, worklist.archive, trail)
    promises = (worklist.commitments, worklist.confirmations)
    commitment = CommitmentScp(settings, *promises, utc_now)
    handles = (worklist.arrivals, worklist.announcements)
    with (
        trail,
        Receiver(settings, *handles, utc_now, queries, trail, commitment),
        patient_index(settings, worklist.patients, utc_now),
    ):
        alive.ready()
        while not stop.wait(1.0):  # with a time limit: see `stop_on_signal`
            pass


def _work(settings: Settings, worklist: Worklist, stop: threading.Event, alive: Pulse) -> None:
    from node.arrive.asking import asker
    from node.cases.decoding import decoding_process
    from node.cases.detector import load_detector
    from node.cases.pipeline import Node
    from node.cases.worker import work

    detector = cache(lambda: load_detector(settings))
    detector()  # loaded before the first case arrives
    node = Node.on(worklist, settings, detector, utc_now)
    if settings.assemble.ask:
        asked = source(settings.assemble.ask, settings)
        ask = asker(asked, settings, worklist.announcements, utc_now)
        node = replace(node, ask=ask)
    name = claimant()
    alive.tell_if_hangs(lambda: worklist.cases.give_back(name, attempts=1))
    with decoding_process(settings.decode) as decode:
        alive.ready()
        work(replace(node, decode=decode), name, stop)


def _deliver(settings: Settings, worklist: Worklist, stop: threading.Event, alive: Pulse) -> None:
    from node.deliver import deliver
    from node.jobs import scheduled

    promises = (worklist.commitments, worklist.confirmations)
    with (
        scheduled(settings, worklist, utc_now, stop),
        forwarding(settings, worklist.audit, utc_now),
    ):
        alive.ready()
        deliver(settings, worklist.outbox, utc_now, stop, promises)


def _web(settings: Settings, worklist: Worklist, stop: threading.Event, alive: Pulse) -> None:
    from node.arrive.catalogue import Catalogue
    from node.web import dicomweb_service, serve_page

    trail = Trail(worklist.audit, utc_now)
    archive = dicomweb_service(settings, worklist.archive, worklist.arrivals, utc_now, trail)
    catalogue = Catalogue(worklist.archive, settings.data_dir)
    keeping = threading.Thread(target=catalogue.keep_current, args=(stop,), name="catalogue")
    keeping.start()
    try:
        with trail, answering(settings, worklist, utc_now, stop):
            alive.ready()
            serve_page(settings, worklist, utc_now, stop, [archive])
    finally:
        stop.set()
        keeping.join()


_RUN: dict[Role, Callable[[Settings, Worklist, threading.Event, Pulse], None]] = {
    "receive": _receive,
    "work": _work,
    "deliver": _deliver,
    "web": _web,
}


def stop_on_signal() -> threading.Event:
    """Return an event that SIGTERM, SIGINT, or the supervisor's death sets.

    Wait for it with a time limit: Python runs a signal's handler between two steps of the main
    thread, so that a signal just before an endless wait would have no effect.
    """
    stop = StopEvent()
    for number in (signal.SIGTERM, signal.SIGINT):
        # In a thread: the handler may interrupt a `stop.wait` that holds the event's own lock.
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())
    if os.environ.get(_SUPERVISED):
        threading.Thread(target=_wait_for_parent, args=(stop,), daemon=True).start()
    return stop


_SUPERVISED = "ICHNODE_SUPERVISED"


def _wait_for_parent(stop: threading.Event) -> None:
    """Set `stop` when standard input ends: it is a pipe that the supervisor holds open."""
    os.read(sys.stdin.fileno(), 1)  # unbuffered: a buffer's lock would be held at exit
    stop.set()


def require_ports(settings: Settings, stop: threading.Event) -> None:
    """Return once the ports to listen on are free, or `stop` is set.

    Raises
    ------
    BadConfiguration
        If one cannot be listened on, or is still in use after `PORTS_S`.
    """
    deadline = time.monotonic() + PORTS_S
    for section, host, port in (
        ("receive", settings.receive.host, settings.receive.port),
        ("web", settings.web.host, settings.web.port),
        ("receive.adt", settings.receive.adt.host, settings.receive.adt.port),
    ):
        while (error := cannot_listen(host, port)) is not None and not stop.wait(0.2):
            if error.errno != EADDRINUSE or time.monotonic() > deadline:
                raise BadConfiguration(
                    f"cannot listen on {host}:{port}: {error.strerror}; end the program that does, "
                    f"or set another {section}.port"
                )


def require_safe_page(settings: Settings) -> None:
    """Refuse a page that other machines could read without signing in, or unencrypted.

    Raises
    ------
    BadConfiguration
        As `node.web.require_closed`; before any role is started, so that a person sees it.
    """
    if settings.web.host in LOOPBACK and not settings.web.certificate:
        return
    from node.web import require_closed

    with Worklist(settings.url) as worklist:
        require_closed(settings, worklist)


def require_good_certificate(settings: Settings) -> None:
    """Refuse a certificate of the storage SCP that cannot be used.

    Raises
    ------
    BadConfiguration
        As `node.dicom.net.tls.server_context`; before any role is started.
    """
    from node.dicom.net.tls import server_context

    if settings.receive.tls.is_on:
        server_context(settings.receive.tls)


def cannot_listen(host: str, port: int) -> OSError | None:
    """Return why a TCP port cannot be listened on; None if it can."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def supervise(config: Path | None, stop: threading.Event) -> None:
    """Run all roles as child processes until `stop` is set; start again one that dies."""
    children = {role: _Child(role, config) for role in ROLES}
    notify("READY=1")
    while not stop.wait(0.2):
        notify("WATCHDOG=1")
        for child in children.values():
            child.keep_alive()
    for child in children.values():
        child.terminate()
    for child in children.values():
        child.process.wait()


class _Child:
    """One role's process, and how long to wait before it is started again."""

    def __init__(self, role: Role, config: Path | None) -> None:
        self.role = role
        self.command = [sys.executable, "-m", "node.cli", "serve", "--role", role]
        if config is not None:
            self.command += ["--config", str(config)]
        self.wait_s = RESTART_S[0]
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        self.started = time.monotonic()
        environment = {**os.environ, _SUPERVISED: "1"}
        environment.pop("NOTIFY_SOCKET", None)  # systemd hears the supervisor alone
        return subprocess.Popen(self.command, stdin=subprocess.PIPE, env=environment)

    def keep_alive(self) -> None:
        """Start the process again if it died and its wait is over."""
        code = self.process.poll()
        alive_s = time.monotonic() - self.started
        if code is None or alive_s < self.wait_s:
            return
        lived_long = alive_s > 2 * RESTART_S[1]
        self.wait_s = RESTART_S[0] if lived_long else min(2 * self.wait_s, RESTART_S[1])
        logger.error("died, starting again", extra=event("role_died", role=self.role, code=code))
        self.process = self._start()

    def terminate(self) -> None:
        """Ask the process to finish its current work and stop."""
        if self.process.poll() is None:
            self.process.terminate()
