"""The page: how long the list, its live update and a study take, and what open pages cost.

The web role runs in a process of its own on a worklist of many studies. Times are those of whole
requests from this machine, so of the server and the socket, without a browser's drawing.
"""

import http.client
import itertools
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from models.findings import SUBTYPES, Findings, SliceFinding
from models.volume import Volume
from node.case_folder import CaseFolder, case_folder
from node.cli.bench.archive import measure_archive
from node.cli.bench.building import THIN
from node.cli.bench.receiving import fresh_series
from node.cli.bench.tables import bench_table, console
from node.cli.local_node import configure
from node.clock import utc_now
from node.dicom.read.header import read_header
from node.errors import Retryable
from node.outcomes import Planned, Triaged
from node.records import Frame, Header, SeriesPlan, SliceRef, StoredObject
from node.settings import Settings, load
from node.states import Priority, State
from node.worklist import Opinion, Worklist, upgrade
from training.phantoms import demo_pair

STUDIES = 5000
CLIENTS = 50
REPEATS = 15
"""How often each request is sent; the median and the slowest are shown."""
START_S = 60.0
"""How long the server may take to answer first: it reads the worklist once."""
HEARD_S = 30.0
"""How long a change may take to reach the open pages."""


def bench_web() -> None:
    """Print how the page, and queries of the archive, hold with many studies.

    Raises
    ------
    Retryable
        If the server does not answer.
    """
    with TemporaryDirectory(prefix="ichnode-bench-") as temporary:
        folder = Path(temporary)
        settings = _settings(folder)
        with Worklist(settings.url) as worklist:
            _fill(worklist)
            series = _series(settings, worklist)
            with _serving(folder, settings) as process:
                _measure_list(settings)
                _measure_live(settings, worklist, process)
                for name, (case, first, count) in series.items():
                    _measure_study(settings, name, case, first, count)
        (folder / "archive").mkdir()
        measure_archive(folder / "archive")


def _settings(folder: Path) -> Settings:
    data = folder / "data"
    data.mkdir()
    settings = load(configure(folder, data))
    upgrade(settings.url)
    return settings


def _fill(worklist: Worklist) -> None:
    """List many studies of one day, a few of them suspected."""
    now = utc_now()
    with console.status(f"listing {STUDIES} studies"):
        for number in range(STUDIES):
            then = now - timedelta(hours=20) + timedelta(hours=20) * number / STUDIES
            _list_one(worklist, number, then, suspected=number % 20 == 0)


def _list_one(worklist: Worklist, number: int, then: datetime, *, suspected: bool) -> None:
    uid = f"1.2.{number}"
    header = Header(
        *("1.2.840.10008.5.1.4.1.1.2", f"{uid}.3", uid, f"{uid}.2", "1.2.840.10008.1.2.1"),
        (Frame(None, None),),
        patient_id=f"P{number}",
        accession_number=f"A{number}",
        study_description="CT HEAD WITHOUT CONTRAST",
    )
    stored = StoredObject(f"{number}", f"{number:064}", 1)
    worklist.arrivals.add(header, stored, caller="BENCH", now=then)
    read = Triaged(Priority.SUSPECTED if suspected else Priority.NOT_SUSPECTED, 0.5, volume_ml=1.0)
    for outcome in (Planned(limitations=("gantry tilt 18.5 degrees",)), read):
        _finish(worklist, uid, outcome, then)


def _finish(worklist: Worklist, uid: str, outcome: Planned | Triaged, then: datetime) -> int:
    """End the next stage of a study's only case as if it were due; return the case."""
    states, due = (State.RECEIVING, State.ASSEMBLED), then + timedelta(seconds=10)
    case = worklist.cases.claim(states, "bench", 60, due, study_uid=uid)
    if case is None:
        raise Retryable(f"study {uid} has no case to go on with")
    worklist.cases.finish(case, "bench", outcome, then)
    return case.id


def _series(settings: Settings, worklist: Worklist) -> dict[str, tuple[int, int, int]]:
    """File a series and a thin one with findings; return case, key slice and slices of each."""
    bleeding = demo_pair()[0]
    count, gap_mm = THIN
    again = np.arange(count) * len(bleeding.volume.hu) // count
    thin = Volume(
        bleeding.volume.hu[again],
        bleeding.volume.positions_mm[0] + np.arange(count)[:, None] * gap_mm * np.eye(3)[2],
        np.array([1.0, 0, 0, 0, 1, 0]),
        bleeding.volume.spacing_mm,
        gap_mm,
    )
    given = {"thick": (bleeding.volume, bleeding.lesions > 0)}
    given["thin"] = (thin, bleeding.lesions[again] > 0)
    filed = {}
    for name, (volume, mask) in given.items():
        files = fresh_series(settings.data_dir, volume, name)
        case = _file(files, settings, worklist)
        found = _findings(volume, mask)
        CaseFolder(settings.data_dir, case_folder(case)).save_findings(found)
        label = f"{len(volume.hu)} slices of {' x '.join(map(str, volume.hu.shape[1:]))}"
        filed[label] = (case, found.key_slice or 0, len(volume.hu))
    return filed


def _file(files: Sequence[Path], settings: Settings, worklist: Worklist) -> int:
    """File the files where they lie, below the data folder; return the case."""
    refs = []
    for path in files:
        header, data = read_header(path), path.read_bytes()
        place = path.relative_to(settings.data_dir).as_posix()
        stored = StoredObject(place, sha256(data).hexdigest(), len(data))
        worklist.arrivals.add(header, stored, caller="BENCH", now=utc_now())
        where = header.frames[0].position_mm
        uids = header.sop_class_uid, header.sop_instance_uid
        refs.append(SliceRef(place, stored.sha256, *uids, 1, where))
    uid, series = header.study_instance_uid, header.series_instance_uid
    case = _finish(worklist, uid, Planned(), utc_now())
    folder = CaseFolder(settings.data_dir, case_folder(case))
    folder.make()
    folder.write_plan(SeriesPlan(uid, series, tuple(refs), "bench"))
    read = Triaged(Priority.SUSPECTED, probability=0.9, volume_ml=20.0)
    return _finish(worklist, uid, read, utc_now())


def _findings(volume: Volume, mask: np.ndarray) -> Findings:
    area = mask.sum(axis=(1, 2))
    return Findings(
        probability=0.9,
        suspected=True,
        uncertainty=0.0,
        uncertain=False,
        volume_ml=float((area * volume.voxel_ml).sum()),
        subtypes=dict.fromkeys(SUBTYPES, 0.5),
        slices=tuple(SliceFinding(0.9 if each else 0.1) for each in area),
        key_slice=int(area.argmax()),
        mask=mask,
        heat=mask.astype(np.uint8),
        bundle="bench",
        weights_sha256="0" * 64,
    )


@contextmanager
def _serving(folder: Path, settings: Settings) -> "Iterator[subprocess.Popen[bytes]]":
    command = [sys.executable, "-m", "node.cli", "serve", "--role", "web"]
    command += ["--config", str(folder / "ichnode.toml")]
    with (folder / "web.log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            deadline = time.monotonic() + START_S
            while not _answers(settings):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise Retryable("the web server does not answer")
                time.sleep(0.2)
            yield process
        finally:
            process.terminate()


def _answers(settings: Settings) -> bool:
    try:
        _Client(settings).get("/")
    except OSError:
        return False
    return True


class _Client:
    """One browser: a connection that is kept."""

    def __init__(self, settings: Settings) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", settings.web.port, timeout=60)

    def get(self, path: str) -> bytes:
        return self._ask("GET", path)

    def post(self, path: str, asked: object) -> bytes:
        return self._ask("POST", path, json.dumps(asked).encode())

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        try:
            answer = self._answer(method, path, body)
        except (ConnectionError, http.client.HTTPException):
            self._connection.close()  # the server ended it between two requests
            answer = self._answer(method, path, body)
        content = answer.read()
        if answer.status != 200:
            raise Retryable(f"{path}: status {answer.status}: {content[:200].decode()}")
        return content

    def _answer(self, method: str, path: str, body: bytes | None) -> http.client.HTTPResponse:
        self._connection.request(method, path, body)
        return self._connection.getresponse()

    def close(self) -> None:
        self._connection.close()


class _Stream:
    """The events of an open page, each as soon as its bytes are here."""

    def __init__(self, settings: Settings) -> None:
        self._socket = socket.create_connection(("127.0.0.1", settings.web.port), timeout=60)
        self._socket.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def versions(self) -> Iterator[int]:
        """Yield each version that the page is told."""
        with self._socket.makefile("rb") as lines:
            for line in lines:  # between the events stand the lengths of their chunks
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])["version"]

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _timed(ask: Callable[[], bytes], repeats: int = REPEATS) -> tuple[str, str, str]:
    """Return the median and the longest time in ms, and the size of an answer in KB."""
    times = []
    for _ in range(repeats):
        begin = time.monotonic()
        content = ask()
        times.append(1000 * (time.monotonic() - begin))
    return f"{statistics.median(times):.0f}", f"{max(times):.0f}", f"{len(content) / 1024:.0f}"


def _measure_list(settings: Settings) -> None:
    client = _Client(settings)
    table = bench_table(f"list of {STUDIES} studies", "request", "ms (median)", "ms (max)", "KB")
    table.add_row("page, first 50 rows", *_timed(lambda: client.get("/")))
    table.add_row("rows that changed: none known", *_timed(lambda: client.post("/list", {})))
    last = {"page": STUDIES // 50 - 1}
    table.add_row("last page", *_timed(lambda: client.post("/list", last)))
    table.add_row("search", *_timed(lambda: client.post("/list", {"text": "P4711"})))
    client.close()
    console.print(table)


def _measure_live(
    settings: Settings, worklist: Worklist, process: "subprocess.Popen[bytes]"
) -> None:
    """Open many pages; change studies; see when all of them have the new rows."""
    before, began = _memory_mb(process), time.monotonic()
    pages = [_Page(settings) for _ in range(CLIENTS)]
    with ExitStack() as open_pages:
        for page in pages:
            page.start()
            open_pages.callback(page.stop)
        delays = [_change_heard(worklist, pages, number) for number in range(REPEATS)]
        after = _memory_mb(process)
    table = bench_table(f"{CLIENTS} open pages", "measured", "")
    table.add_row("change until the first page has the row, s", f"{min(map(min, delays)):.2f}")
    every = [delay for each in delays for delay in each]
    table.add_row("... until a page has it (median), s", f"{statistics.median(every):.2f}")
    table.add_row("... until the last page has it, s", f"{max(every):.2f}")
    asked = [asked for page in pages for asked in page.asked_ms]
    table.add_row("request for changed rows (median), ms", f"{statistics.median(asked):.0f}")
    table.add_row("memory of the server before, MB", f"{before:.0f}")
    table.add_row(f"... after {time.monotonic() - began:.0f} s with them, MB", f"{after:.0f}")
    table.caption = "The database is looked at once a second for all pages together."
    console.print(table)


def _change_heard(worklist: Worklist, pages: "list[_Page]", number: int) -> list[float]:
    """Acknowledge a study; return the seconds until each page has asked for it and got it."""
    for page in pages:
        page.renewed.clear()
    begin = time.monotonic()
    worklist.feedback.give(f"1.2.{number}", "bench", Opinion(), utc_now())
    for page in pages:
        if not page.renewed.wait(HEARD_S):
            raise Retryable("an open page did not hear of a change")
    return [page.renewed_at - begin for page in pages]


class _Page(threading.Thread):
    """An open page: it follows the list and asks for what changed."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self._live, self._client = _Stream(settings), _Client(settings)
        self.renewed = threading.Event()
        self.renewed_at = 0.0
        self.asked_ms: list[float] = []
        self._opened = threading.Event()

    def start(self) -> None:
        super().start()
        self._opened.wait(HEARD_S)

    def run(self) -> None:
        known: dict[str, str] = {}
        with suppress(OSError, ValueError):  # another thread closes the stream
            for version, before in itertools.pairwise(itertools.chain([-1], self._live.versions())):
                if version == before:
                    continue
                begin = time.monotonic()
                self._client.post("/list", {"known": known})
                self.renewed_at = time.monotonic()
                self.asked_ms.append(1000 * (self.renewed_at - begin))
                self.renewed.set()
                self._opened.set()

    def stop(self) -> None:
        self._live.close()


def _memory_mb(process: "subprocess.Popen[bytes]") -> float:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _measure_study(settings: Settings, name: str, case: int, first: int, count: int) -> None:
    client = _Client(settings)
    table = bench_table(f"study of {name}", "request", "ms (median)", "ms (max)", "KB")
    begin = time.monotonic()
    client.get(f"/studies/{case}")
    client.get(f"/cases/{case}/slices/{first + 1}.png")
    cold = f"{1000 * (time.monotonic() - begin):.0f}"
    table.add_row("first paint: page and key slice, nothing decoded yet", cold, cold, "")
    slices = itertools.cycle(range(1, count + 1))
    following = _timed(lambda: client.get(f"/cases/{case}/slices/{next(slices)}.png"), count // 2)
    table.add_row("next slice, while the series is decoded", *following)
    time.sleep(5)
    following = _timed(lambda: client.get(f"/cases/{case}/slices/{next(slices)}.png"), count // 2)
    table.add_row("next slice, in memory", *following)
    table.add_row("page again", *_timed(lambda: client.get(f"/studies/{case}")))
    client.close()
    console.print(table)
