"""DICOMweb and C-FIND against the clock: many studies, and a series of many slices."""

import statistics
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from models.volume import Volume
from node.arrive.catalogue import Catalogue
from node.arrive.intake import Intake
from node.cli.bench.tables import REPEATS, bench_table, console
from node.cli.local_node import configure
from node.clock import utc_now
from node.depot import depot_of
from node.errors import Retryable
from node.settings import Settings, load
from node.web import dicomweb_service, serve_page
from node.worklist import Level, Query, Worklist, upgrade
from training.datasets.series import Identity, write_series

STUDIES, SLICES = 5000, 400
"""How many studies are searched, and how many slices the series has whose metadata is fetched."""
LONG_SERIES = "a series of many slices"


def measure_archive(folder: Path, studies: int = STUDIES, slices: int = SLICES) -> None:
    """Print how long queries and metadata take, in ms.

    Raises
    ------
    Retryable
        If the node does not answer.
    """
    settings = load(configure(folder, folder / "node"))
    upgrade(settings.url)
    with Worklist(settings.url) as worklist:
        with console.status(f"filing {studies} studies of one slice and a series of {slices}"):
            _fill(settings, worklist, folder, studies, slices)
        begin = time.monotonic()
        with console.status("describing them for queries"):
            Catalogue(worklist.archive, depot_of(settings)).require_current(within_s=3600)
        filled = time.monotonic() - begin
        table = bench_table(f"an archive of {studies} studies", "what", "first, ms", "then, ms")
        with _served(settings, worklist) as base:
            for name, ask in _questions(base, worklist, studies).items():
                first, *later = [_timed(ask) for _ in range(REPEATS + 1)]
                table.add_row(name, f"{first:.0f}", f"{statistics.median(later):.0f}")
    console.print(table)
    console.print(f"describing {studies + slices} objects took {filled:.1f} s, once")


def _questions(base: str, worklist: Worklist, studies: int) -> dict[str, Callable[[], Sized]]:
    long = Identity.of(LONG_SERIES)
    series = f"/studies/{long.study_instance_uid}/series/{long.series_instance_uid}"
    paths = {
        "QIDO, 100 studies of all": "/studies?limit=100",
        "QIDO, 1000 studies of all": "/studies?limit=1000",
        "QIDO, the last 100": f"/studies?limit=100&offset={max(0, studies - 100)}",
        "QIDO, by name with wildcards": f"/studies?PatientName=*y%20{studies // 12}*&limit=100",
        "QIDO, by date and modality": "/studies?StudyDate=20260101-&ModalitiesInStudy=CT&limit=100",
        "QIDO, with the priority": "/studies?limit=100&includefield=21171001",
        "QIDO, instances of the long series": f"{series}/instances",
        "metadata of the long series": f"{series}/metadata",
    }
    asked: dict[str, Callable[[], Sized]] = {
        name: partial(_fetch, base + path) for name, path in paths.items()
    }
    query = Query(Level.STUDY)
    asked["the rows of all studies, as C-FIND gets them"] = lambda: worklist.archive.find(query)
    return asked


def _fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return bytes(answer.read())
    except OSError as error:
        raise Retryable(f"the node does not answer: {error}") from error


def _timed(ask: Callable[[], Sized]) -> float:
    """Return how long an answer took, ms; that it found something is looked at afterwards."""
    begin = time.monotonic()
    answer = ask()
    took = 1000 * (time.monotonic() - begin)
    if len(answer) < len("[{}]"):
        raise Retryable("the node found nothing")
    return took


def _fill(settings: Settings, worklist: Worklist, folder: Path, studies: int, slices: int) -> None:
    intake = Intake(settings, worklist.arrivals, utc_now)
    for number in range(studies):
        for path in write_series(_volume(1, 32), folder / "sent", Identity.of(f"study {number}")):
            intake.take(path.name, path.read_bytes())
    for path in write_series(_volume(slices, 512), folder / "long", Identity.of(LONG_SERIES)):
        intake.take(path.name, path.read_bytes())


def _volume(slices: int, size: int) -> Volume:
    positions = np.zeros((slices, 3))
    positions[:, 2] = np.arange(slices)
    hu = np.zeros((slices, size, size), np.float32)
    return Volume(hu, positions, np.array([1.0, 0, 0, 0, 1, 0]), (0.5, 0.5))


@contextmanager
def _served(settings: Settings, worklist: Worklist) -> Iterator[str]:
    stop = threading.Event()
    service = dicomweb_service(settings, worklist.archive, worklist.arrivals, utc_now)
    page = (settings, worklist, utc_now, stop, [service])
    server = threading.Thread(target=serve_page, args=page)
    server.start()
    base = f"http://127.0.0.1:{settings.web.port}"
    try:
        for _ in range(100):
            try:
                _fetch(f"{base}/healthz")
                break
            except Retryable:
                time.sleep(0.1)
        yield f"{base}/dicom-web"
    finally:
        stop.set()
        server.join()
