"""Storage SCPs of others, started on this machine to be measured beside the node."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from node.cli.local_node import free_ports
from node.dicom.net.store_scu import echo
from node.errors import Retryable
from node.settings import Destination, Settings

SYNC_ON_CLOSE = Path(__file__).with_name("sync_on_close.c")
START_S = 30.0
"""How long a peer may take until it answers C-ECHO."""


@contextmanager
def storescp(folder: Path) -> Iterator[Destination]:
    """Run DCMTK's storescp, which syncs nothing."""
    with _storescp(folder, "storescp") as peer:
        yield peer


@contextmanager
def synced_storescp(folder: Path) -> Iterator[Destination]:
    """Run DCMTK's storescp, made to sync each file and its folder as it closes the file.

    It needs a C compiler, `cc`.
    """
    shim = compiled(SYNC_ON_CLOSE, folder.with_suffix(".so"))
    with _storescp(folder, "storescp, made to sync", {"LD_PRELOAD": str(shim)}) as peer:
        yield peer


@contextmanager
def _storescp(folder: Path, name: str, more: Mapping[str, str] = {}) -> Iterator[Destination]:
    folder.mkdir()
    (port,) = free_ports(1)
    command = ["storescp", "-aet", "STORESCP", "-od", str(folder), str(port)]
    with _running(name, command, port, more) as peer:
        yield peer


@contextmanager
def orthanc(folder: Path) -> Iterator[Destination]:
    """Run Orthanc with its own defaults, but for its ports, its callers and TCP_NODELAY."""
    folder.mkdir()
    port, http = free_ports(2)
    settings = {
        "DicomPort": port,
        "HttpPort": http,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowEcho": True,
        "RemoteAccessAllowed": False,
        "TcpNoDelay": True,
    }
    config = folder / "orthanc.json"
    config.write_text(json.dumps(settings))
    with _running("Orthanc", ["Orthanc", str(config)], port) as peer:
        yield peer


def compiled(source: Path, library: Path) -> Path:
    """Return a shared library, compiled from a file in C."""
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def installed(folder: Path) -> list[AbstractContextManager[Destination]]:
    """Return the storage SCPs that can be run on this machine; each keeps a folder in this one."""
    found: list[AbstractContextManager[Destination]] = []
    if shutil.which("storescp"):
        found.append(storescp(folder / "storescp"))
        if shutil.which("cc"):
            found.append(synced_storescp(folder / "synced"))
    if shutil.which("Orthanc"):
        found.append(orthanc(folder / "Orthanc"))
    return found


@contextmanager
def _running(
    name: str, command: Sequence[str], port: int, more: Mapping[str, str] = {}
) -> Iterator[Destination]:
    """Run a storage SCP while the block runs, from its first answer on.

    Parameters
    ----------
    more
        Variables of its environment.
    """
    title = name.partition(",")[0].upper()
    peer = Destination(name=name, ae_title=title, host="127.0.0.1", port=port)
    quiet = subprocess.DEVNULL
    # Nagle's algorithm would cost some 40 ms an answer: DCMTK reads the variable.
    environment = {**os.environ, "TCP_NODELAY": "1", **more}
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, env=environment) as process:
        try:
            _wait_for_answer(peer, process)
            yield peer
        finally:
            process.terminate()


def _wait_for_answer(peer: Destination, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            echo(peer, Settings())
            return
        except Retryable:
            time.sleep(0.2)
    raise Retryable(f"{peer.name} does not answer on this machine")


def memory_mb(port: int) -> float | None:
    """Return the memory of the process of this machine that listens on a port; None if unknown."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in sockets for link in (process / "fd").iterdir()):
                status = (process / "status").read_text()
                return int(status.partition("VmRSS:")[2].split()[0]) / 1024
        except OSError:
            continue  # it ended, or is somebody else's
    return None


def _listening(port: int) -> Iterator[str]:
    """Yield the inodes of the sockets that listen on a port (proc(5), /proc/net/tcp)."""
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]
