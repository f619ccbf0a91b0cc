"""`ichnode serve`: runs each role in a process of its own, and starts again one that dies.

The roles (`node.roles`) meet in the database alone, so each can also run by itself, under systemd
or on another machine. SIGHUP has all of them read their settings anew.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EADDRINUSE
from pathlib import Path

from node.errors import BadConfiguration
from node.folder_lock import holder
from node.health import StopEvent, notify
from node.in_force import InForce
from node.log import event
from node.roles import ROLES, Role
from node.settings import LOOPBACK, Settings
from node.worklist import Worklist

logger = logging.getLogger(__name__)

RESTART_S = (0.5, 30.0)
"""First and longest wait before a role that died is started again. An estimate; nothing was
measured."""

PORTS_S = 15.0
"""How long a new node waits for its ports. It must exceed the time in which the roles of a node
that was killed end: the receiver takes up to 10 s to store what it has begun."""


def stop_on_signal() -> threading.Event:
    """Return an event that SIGTERM, SIGINT, or the supervisor's death sets.

    Wait for it with a time limit: Python runs a signal's handler between two steps of the main
    thread, so that a signal just before an endless wait would have no effect.
    """
    stop = StopEvent()
    for number in (signal.SIGTERM, signal.SIGINT):
        # In a thread: the handler may interrupt a `stop.wait` that holds the event's own lock.
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())
    if is_supervised():
        threading.Thread(target=_wait_for_parent, args=(stop,), daemon=True).start()
    return stop


def reload_on_signal(in_force: InForce, stop: threading.Event) -> None:
    """Have SIGHUP read the settings anew; where it says that the terminal is gone, set `stop`."""
    began_with_terminal = _has_terminal()

    def act() -> None:
        if began_with_terminal and not _has_terminal():
            stop.set()
        else:
            in_force.reload()

    signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=act).start())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY))
    except OSError:
        return False
    return True


def ask_to_reload(folder: Path) -> int:
    """Have the supervisor of a data folder read its settings anew; return its process id.

    Raises
    ------
    BadConfiguration
        If there is none, or it is another user's.
    """
    process = holder(folder) or ""
    if not process.isdigit():
        raise BadConfiguration(f"no `ichnode serve` runs all roles on {folder}")
    try:
        os.kill(int(process), signal.SIGHUP)
    except OSError as error:
        raise BadConfiguration(f"process {process}: {error.strerror}") from error
    return int(process)


def is_supervised() -> bool:
    """Return whether a supervisor started this process."""
    return _SUPERVISED in os.environ


@contextmanager
def _reload_waits() -> Iterator[None]:
    """Have a process that is started here keep a SIGHUP until it can serve it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


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


def supervise(config: Path | None, in_force: InForce, stop: threading.Event) -> None:
    """Run all roles as child processes until `stop` is set; start again one that dies.

    A reload of the settings is handed on to them. The shadow runs while the settings have it on.
    """
    children: dict[Role, _Child] = {}
    ended: list[_Child] = []
    while not stop.is_set():
        turn = in_force.turn(stop)
        for child in children.values():
            child.reload()
        ended += _adjust(children, roles(in_force()), config)
        notify("READY=1")
        while not turn.wait(0.2):
            notify("WATCHDOG=1")
            for child in children.values():
                child.keep_alive()
    for child in children.values():
        child.end()
    for child in (*children.values(), *ended):
        child.process.wait()


def roles(settings: Settings) -> list[Role]:
    """Return the roles that run on these settings."""
    return [role for role in ROLES if role != "shadow" or settings.shadow.on]


def _adjust(
    children: "dict[Role, _Child]", wanted: Sequence[Role], config: Path | None
) -> "list[_Child]":
    """Start the roles that are wanted and do not run; return those that end, which are not."""
    for role in wanted:
        if role not in children:
            children[role] = _Child(role, config)
    over = [children.pop(role) for role in list(children) if role not in wanted]
    for child in over:
        child.end()
    return over


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
        with _reload_waits():
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

    def reload(self) -> None:
        """Ask the process to read its settings anew."""
        self.process.send_signal(signal.SIGHUP)

    def end(self) -> None:
        """Ask the process to finish its current work and stop."""
        self.process.terminate()
