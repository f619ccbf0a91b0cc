"""`ichnode demo`: a scanner, a node and a PACS on one machine, over real associations.

The node runs as a hospital's would: `ichnode serve`, on SQLite and a local spool. Only the images
are made up, unless a folder of real ones is given.
"""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import track

from node.arrive.media import files_in
from node.cli.console.worklist import worklist_table
from node.cli.pacs import archive
from node.clock import utc_now
from node.dicom.net.store_scu import echo, send_files
from node.errors import Permanent, Retryable
from node.settings import Destination, Settings, load
from node.wording import RESEARCH_USE_ONLY
from node.worklist.store import Row, Store, upgrade

START_S = 60.0
READ_S = 600.0
"""How long the demo waits for the node to answer, and to read what it was sent; chosen."""

console = Console()


def demo(ct: Path | None, out: Path) -> None:
    """Push studies to a node and show what comes back, leaving everything in `out`.

    Raises
    ------
    IchnodeError
        If something does not arrive; the node's log is `out/node.log`.
    """
    console.print(RESEARCH_USE_ONLY, style="bold")
    sent, received, data = (out / name for name in ("sent", "received", "node"))
    for folder in (sent, received, data):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    files = files_in(ct) if ct else _phantoms(sent)
    with archive("DEMO_PACS", received) as pacs_port:
        config = configure(out, data, pacs_port)
        settings = load(config)
        upgrade(settings.url)
        with serving(config, out / "node.log"):
            _send(files, settings)
            rows = _wait_for_results(settings)
    console.print(worklist_table(rows))
    _show_places(rows, data, received)


def _phantoms(folder: Path) -> list[Path]:
    """Write the two built-in phantoms as CT series."""
    from training.datasets.series import Identity, write_series
    from training.phantoms import demo_pair

    files = []
    console.print("drawing two phantom heads, one with a hemorrhage and one without")
    for name, phantom in zip(("hemorrhage", "normal"), demo_pair(), strict=True):
        files += write_series(phantom.volume, folder / name, Identity.of(f"demo {name}"))
    console.print(f"{len(files)} CT slices in {folder}")
    return files


def configure(folder: Path, data: Path, pacs_port: int | None = None) -> Path:
    """Write a node's settings: free ports on loopback, and a PACS on that port if there is one."""
    dicom_port, web_port = _free_ports(2)
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


def _free_ports(count: int) -> list[int]:
    """Return so many different TCP ports that are free on loopback now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def serving(config: Path, log: Path) -> Iterator[None]:
    """Run `ichnode serve` while the block runs; yield once it answers C-ECHO."""
    command = [sys.executable, "-m", "node.cli", "serve", "--config", str(config)]
    settings = load(config)
    with log.open("wb") as stream, subprocess.Popen(command, stderr=stream) as process:
        try:
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
    """Return the node itself as somebody to send to."""
    receive = settings.receive
    return Destination(name="node", ae_title=receive.ae_title, host="127.0.0.1", port=receive.port)


def _send(files: Sequence[Path], settings: Settings) -> None:
    """Push the files to the node, as a scanner would.

    Raises
    ------
    Permanent
        If the node took none of them.
    """
    stored = 0
    results = send_files(files, as_peer(settings), settings)
    for result in track(results, "pushing", total=len(files), console=console):
        stored += result.stored
        if not result.stored:
            console.print(f"{result.path.name}: {result.message}")
    if not stored:
        raise Permanent(f"the node took none of the {len(files)} files")


def _wait_for_results(settings: Settings) -> list[Row]:
    """Wait until every study is read and delivered; say each step that a study takes."""
    deadline = time.monotonic() + READ_S
    said: set[tuple[str, str]] = set()
    with Store(settings.url) as store, console.status("reading"):
        while True:
            rows = store.worklist(utc_now())
            for row in rows:
                if (step := (row.patient_id, row.state.value)) not in said:
                    said.add(step)
                    console.print(f"  {row.patient_id}: {row.state.lower()}")
            if rows and all(row.delivered_at for row in rows):
                return rows
            if time.monotonic() > deadline:
                raise Retryable(f"not every study was read and delivered within {READ_S:.0f} s")
            time.sleep(0.1)


def _show_places(rows: Sequence[Row], data: Path, received: Path) -> None:
    objects = sorted(received.rglob("*.dcm"))
    console.print(f"{len(objects)} objects came back to the PACS, in {received}")
    for row in rows:
        picture = data / row.folder / "report" / "capture.png"
        if picture.exists():
            console.print(f"{row.priority}: overlay picture {picture}", soft_wrap=True)
