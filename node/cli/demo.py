"""`ichnode demo`: a scanner, a node and a PACS on one machine, over real associations.

The node runs as in a hospital: `ichnode serve`, on SQLite and a local spool. The images are
phantoms, unless a folder of real ones is given.
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from rich.progress import track

from node.arrive.media import files_in
from node.case_folder import CaseFolder
from node.cli.console.terminal import outside, terminal
from node.cli.console.worklist import worklist_table
from node.cli.local_node import as_peer, configure, serving
from node.cli.pacs import archive
from node.clock import utc_now
from node.dicom.net.store_scu import send_files
from node.errors import Permanent, Retryable
from node.settings import Settings, load
from node.wording import RESEARCH_USE_ONLY
from node.worklist import Row, Worklist, upgrade

READ_S = 600.0
"""How long the demo waits for its results. It must exceed the loading of the networks and the
reading of two studies on two slow cores."""

console = terminal()


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
            console.print(outside(f"{result.path.name}: {result.message}"))
    if not stored:
        raise Permanent(f"the node took none of the {len(files)} files")


def _wait_for_results(settings: Settings) -> list[Row]:
    """Wait until every study is read and delivered, and print each step that a study takes."""
    deadline = time.monotonic() + READ_S
    said: set[tuple[str, str]] = set()
    with Worklist(settings.url) as worklist, console.status("reading"):
        while True:
            rows = worklist.views.worklist(utc_now())
            for row in rows:
                if (step := (row.patient_id, row.state.value)) not in said:
                    said.add(step)
                    console.print(outside(f"  {row.patient_id}: {row.state.lower()}"))
            if rows and all(row.delivered_at for row in rows):
                return rows
            if time.monotonic() > deadline:
                raise Retryable(f"not every study was read and delivered within {READ_S:.0f} s")
            time.sleep(0.1)


def _show_places(rows: Sequence[Row], data: Path, received: Path) -> None:
    objects = sorted(received.rglob("*.dcm"))
    console.print(f"{len(objects)} objects came back to the PACS, in {received}")
    for row in rows:
        picture = CaseFolder(data, row.folder).picture
        if picture.exists():
            console.print(f"{row.priority}: overlay picture {picture}", soft_wrap=True)
