"""`ichnode bench`: measures in one run what this machine does; compare ratios, not seconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from node.cli.bench.building import measure_building
from node.cli.bench.door_to_flag import measure_door_to_flag
from node.cli.bench.runtimes import measure_runtimes
from node.cli.bench.tables import console
from node.cli.local_node import configure, serving
from node.cli.pacs import archive
from node.settings import Settings, load
from node.worklist import upgrade
from training.phantoms import demo_pair


def bench(settings: Settings) -> None:
    """Print volume building, runtimes in ms a slice, door to flag and to PACS.

    Parameters
    ----------
    settings
        Their bundle is measured; nothing else of the installation is touched.

    Raises
    ------
    IchnodeError
        If a result does not come.
    """
    with console.status("drawing a phantom series"):
        volume = demo_pair()[0].volume
    with TemporaryDirectory(prefix="ichnode-bench-") as temporary:
        folder = Path(temporary)
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
        file.write(f'operating_point = "{chosen.operating_point}"\n')
    node = load(config)
    upgrade(node.url)
    with serving(config, data / "node.log"):
        yield node
