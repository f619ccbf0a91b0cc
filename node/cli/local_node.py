"""A whole node on this machine's loopback, for the demo and the benchmark."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node.cli.console.terminal import terminal
from node.dicom.net.store_scu import echo
from node.errors import Permanent, Retryable
from node.settings import Destination, Settings, load

START_S = 60.0
"""How long the node may take until it answers C-ECHO. It must exceed the start of its processes on
a slow machine."""

console = terminal()


def configure(folder: Path, data: Path, pacs_port: int | None = None) -> Path:
    """Write a node's settings and return their file.

    The node listens on free ports of loopback. It delivers to a PACS on `pacs_port`, if there is
    one.
    """
    dicom_port, web_port = free_ports(2)
    path = folder / "ichnode.toml"
    text = (
        f'data_dir = "{data.absolute()}"\n'
        f'[receive]\nhost = "127.0.0.1"\nport = {dicom_port}\nmin_free_mb = 64\n'
        "[assemble]\nprior_after_days = 0\n"
        f"[web]\nport = {web_port}\n"
    )
    if pacs_port is not None:
        text += (
            '[[deliver.destinations]]\nname = "demo"\nae_title = "DEMO_PACS"\n'
            f'host = "127.0.0.1"\nport = {pacs_port}\n'
        )
    path.write_text(text)
    return path


def free_ports(count: int) -> list[int]:
    """Return `count` different TCP ports that are free on loopback now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def serving(config: Path, log: Path, *, role: str = "all") -> Iterator[None]:
    """Run `ichnode serve` while the block runs; yield once it answers C-ECHO."""
    command = [sys.executable, "-m", "node.cli", "serve", "--config", str(config), "--role", role]
    settings = load(config)
    with log.open("wb") as stream, subprocess.Popen(command, stderr=stream) as process:
        try:
            if role == "all":
                console.print("starting the node; its first flags wait for the networks to load")
            _wait_for_answer(settings, process)
            yield
        finally:
            process.terminate()


def _wait_for_answer(settings: Settings, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None:
        try:
            echo(as_peer(settings), settings)
            return
        except Retryable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    raise Permanent(f"the node stopped with status {process.returncode}; see its log")


def as_peer(settings: Settings) -> Destination:
    """Return the node itself as a peer to send to."""
    receive = settings.receive
    return Destination(name="node", ae_title=receive.ae_title, host="127.0.0.1", port=receive.port)
