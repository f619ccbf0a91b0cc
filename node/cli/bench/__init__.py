"""`ichnode bench`: measures in one run what this machine does; compare ratios, not seconds.

Received slices are fsynced and committed before they are counted. The sender is ours in every row
and turns Nagle's algorithm off; so does our receiver, and a peer measured beside it should too
(DCMTK: `TCP_NODELAY=1 storescp`).
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from node.cli.bench.building import measure_building
from node.cli.bench.door_to_flag import measure_door_to_flag
from node.cli.bench.receiving import measure_receiving
from node.cli.bench.runtimes import measure_runtimes
from node.cli.bench.tables import console
from node.cli.local_node import as_peer, configure, serving
from node.cli.pacs import archive
from node.errors import BadConfiguration
from node.settings import Destination, Settings, load
from node.worklist import upgrade
from training.phantoms import demo_pair


def bench(settings: Settings, peers: Sequence[str]) -> None:
    """Print receive throughput, volume building, runtimes in ms a slice, door to flag and to PACS.

    Parameters
    ----------
    settings
        Their bundle is measured; nothing else of the installation is touched.
    peers
        "HOST:PORT" of storage SCPs to measure beside ours, with the same sender and files.

    Raises
    ------
    IchnodeError
        If a peer does not answer, or a result does not come.
    """
    with console.status("drawing a phantom series"):
        volume = demo_pair()[0].volume
    with TemporaryDirectory(prefix="ichnode-bench-") as temporary:
        folder = Path(temporary)
        with _node(folder, settings) as node:
            measure_receiving(folder, [as_peer(node), *map(_peer, peers)], volume)
        measure_building(folder, volume, settings.decode)
        measure_runtimes(settings, volume)
        stored = folder / "pacs"
        stored.mkdir()
        with archive("DEMO_PACS", stored) as port, _node(folder, settings, port) as node:
            measure_door_to_flag(folder, node, volume)


@contextmanager
def _node(folder: Path, settings: Settings, pacs_port: int | None = None) -> Iterator[Settings]:
    """Run a whole node on an empty worklist, with the installation's detector.

    It delivers to a PACS on `pacs_port`, if there is one.
    """
    data = folder / f"node-{time.monotonic_ns()}"
    data.mkdir()
    config = configure(data, data, pacs_port)
    chosen = settings.triage
    with config.open("a") as file:
        file.write(f'[triage]\nbundle = "{chosen.bundle.absolute()}"\n')
        file.write(f'subtypes = "{chosen.subtypes}"\nkey_slice = "{chosen.key_slice}"\n')
    node = load(config)
    upgrade(node.url)
    with serving(config, data / "node.log"):
        yield node


def _peer(text: str) -> Destination:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise BadConfiguration(f"{text!r} is not HOST:PORT")
    return Destination(name=text, ae_title="ANY-SCP", host=host, port=int(port))
