"""A node that works without networks: its clock is moved by hand and its predictor is a fake."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import numpy as np

from models.detector import Detector
from models.findings import SUBTYPES, Findings, SliceFinding
from models.preprocess import Canvas
from models.rules import Settings as Rules
from models.slabs import Slabs
from models.volume import Volume
from node.arrive.filing import ingest
from node.arrive.spool import Spool
from node.cases.worker import work_once
from node.settings import Settings
from node.worklist import Worklist
from tests.support.builder import HEAD, Scan, encoded
from tests.support.databases import new_database
from tests.support.watched import WatchedNode


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def soft_tissue(box: np.ndarray) -> tuple[np.ndarray]:
    """A skull stripper for heads without a scalp."""
    return (((box[:, :1] > 0.2) & (box[:, 1:] < 0.45)).astype(np.float32),)


PREPARING = Detector("", "", "torch", Rules(operating_point=0.5), soft_tissue, lambda _: ())


class Predictor:
    """Marks everything between 70 and 75 HU; fails on demand."""

    name, weights_sha256, runtime = "fake@1", "0" * 64, "torch"

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.uncertainty = 0.04
        self.bundle = "fake@1"
        self.operating_point: float | None = None
        self.read_volumes: list[Volume] = []

    def preprocess(self, volume: Volume) -> tuple[Slabs, Canvas]:
        self.read_volumes.append(volume)
        if self.failures:
            raise self.failures.pop()
        return PREPARING.preprocess(volume)

    def infer(self, canvas: Canvas) -> None:
        pass

    def state_findings(self, volume: Volume, *_: object) -> Findings:
        mask = (volume.hu >= 70) & (volume.hu <= 75)
        probability = 0.9 if mask.any() else 0.1
        return Findings(
            probability=probability,
            suspected=probability >= (self.operating_point or 0.5),
            uncertainty=self.uncertainty,
            uncertain=self.uncertainty > 0.2,
            volume_ml=float((mask.sum((1, 2)) * volume.voxel_ml).sum()),
            subtypes=dict.fromkeys(SUBTYPES, 0.2),
            slices=tuple(SliceFinding(0.9 if plane.any() else 0.1) for plane in mask),
            key_slice=int(mask.sum((1, 2)).argmax()) if mask.any() else None,
            mask=mask,
            heat=mask.astype(np.uint8) * 200,
            bundle=self.bundle,
            weights_sha256="0" * 64,
            operating_point=self.operating_point,
        )


@contextmanager
def working_node(
    settings: Settings, clock: Callable[[], datetime], predictor: Predictor
) -> Iterator[WatchedNode]:
    """Open a node on a new database in its settings' data folder."""
    settings.data_dir.mkdir()
    new_database(settings.url)
    with Worklist(settings.url) as worklist:
        yield WatchedNode.on(worklist, settings, lambda: predictor, clock)


def receive(
    node: WatchedNode, *, scan: Scan = HEAD, released: bool = True, only: slice = slice(None)
) -> None:
    """Receive the images of a scan over one association."""
    receive_files([encoded(ds) for ds in scan.build()[only]], node, released=released)


def receive_files(files: list[bytes], node: WatchedNode, *, released: bool = True) -> None:
    """Receive files over one association, which ends if it is released."""
    spool = Spool(node.root, min_free_mb=0)
    series = set()
    for data in files:
        header, _ = ingest(data, node.worklist.arrivals, spool, caller="CT1", now=node.clock())
        series.add(header.series_instance_uid)
    if released:
        node.worklist.arrivals.release(series, node.clock())


def work(node: WatchedNode, clock: Clock) -> None:
    """Let time pass and the worker work until nothing is left to do."""
    for _ in range(100):
        clock.wait(1)
        while work_once(node, "worker"):
            pass
