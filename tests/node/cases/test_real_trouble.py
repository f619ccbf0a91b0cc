"""Real heads with slices missing or scanned twice: read, limited, and flagged if they bleed."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from models.detector import Detector
from models.volume import Volume
from node.settings import Settings
from node.states import Priority, Reason
from node.worklist import Row
from tests.support.builder import encoded
from tests.support.working import Clock, receive_files, work, working_node
from training.datasets import physionet
from training.datasets.series import Identity, write_series

pytestmark = [pytest.mark.data, pytest.mark.timeout(600)]

BLEEDS, NORMAL = 75, 56
"""A patient with hemorrhage and one without. The networks may have learnt from the second one."""


def resliced(volume: Volume, spacing_mm: float) -> Volume:
    """Return the head in thinner slices, each a mean of its two neighbours by their distance.

    Every second row and column is left out, so that many slices are read in little time.
    """
    places = volume.locations_mm
    wanted = np.arange(places[0], places[-1], spacing_mm)
    above = np.clip(np.searchsorted(places, wanted, side="right"), 1, len(places) - 1)
    share = (wanted - places[above - 1]) / (places[above] - places[above - 1])
    between = share[:, None, None].astype(np.float32)
    hu = volume.hu[above - 1] * (1 - between) + volume.hu[above] * between
    start = volume.positions_mm[0]
    positions = start + (wanted - places[0])[:, None] * volume.normal
    return replace(
        volume,
        hu=np.ascontiguousarray(hu[:, ::2, ::2]),
        positions_mm=positions,
        spacing_mm=(2 * volume.spacing_mm[0], 2 * volume.spacing_mm[1]),
        thickness_mm=spacing_mm,
    )


def shown(
    volume: Volume,
    edit: Callable[[list[Dataset]], list[Dataset]],
    detector: Detector,
    tmp_path: Path,
    clock: Clock,
) -> Row:
    files = write_series(volume, tmp_path / "sent", Identity.of("real trouble"))
    images = edit([dcmread(path) for path in sorted(files)])
    settings = Settings(data_dir=tmp_path / "data", assemble={"prior_after_days": 0})
    with working_node(settings, clock, detector) as node:  # type: ignore[arg-type]
        receive_files([encoded(ds) for ds in images], node)
        work(node, clock)
        (row,) = node.worklist.views.worklist(clock.now)
        return row


def lowest_again(images: list[Dataset]) -> list[Dataset]:
    """Scan the eight lowest positions a second time, with other noise."""
    noise = np.random.default_rng(1)
    for number, ds in enumerate(lowest := [deepcopy(ds) for ds in images[:8]], start=1):
        stored = ds.pixel_array.astype(np.int32)
        stored = stored + noise.integers(-3, 4, stored.shape)
        ds.PixelData = np.clip(stored, 0, 65535).astype(ds.pixel_array.dtype).tobytes()
        ds.SOPInstanceUID = f"{ds.SOPInstanceUID[:60]}.2"
        ds.AcquisitionNumber, ds.InstanceNumber = 2, len(images) + number
    return [*images, *lowest]


@pytest.mark.parametrize(
    ("patient", "priority"), [(BLEEDS, Priority.SUSPECTED), (NORMAL, Priority.NOT_SUSPECTED)]
)
def test_one_thin_slice_missing_is_nothing(
    data: Path, detector: Detector, tmp_path: Path, clock: Clock, patient: int, priority: Priority
) -> None:
    head = resliced(physionet.load(data / "physionet_ct_ich", patient).volume, 0.625)
    row = shown(head, lambda images: images[:120] + images[121:], detector, tmp_path, clock)
    assert row.priority is priority, row.reason
    assert not any("missing" in said for said in row.limitations)


@pytest.mark.parametrize(
    ("patient", "priority"), [(BLEEDS, Priority.SUSPECTED), (NORMAL, Priority.NOT_ANALYSED)]
)
def test_a_gap_of_eight_millimetres_is_said_and_never_cleared(
    data: Path, detector: Detector, tmp_path: Path, clock: Clock, patient: int, priority: Priority
) -> None:
    head = resliced(physionet.load(data / "physionet_ct_ich", patient).volume, 2.0)
    row = shown(head, lambda images: images[:30] + images[33:], detector, tmp_path, clock)
    assert row.priority is priority, row.reason
    assert any("8.0 mm apart; 6.0 mm between them were not seen" in s for s in row.limitations)
    assert row.reason_code == (None if priority is Priority.SUSPECTED else Reason.MISSING_SLICE)


@pytest.mark.parametrize(
    ("patient", "priority"), [(BLEEDS, Priority.SUSPECTED), (NORMAL, Priority.NOT_SUSPECTED)]
)
def test_a_doubly_scanned_base_is_read_twice(
    data: Path, detector: Detector, tmp_path: Path, clock: Clock, patient: int, priority: Priority
) -> None:
    head = physionet.load(data / "physionet_ct_ich", patient).volume
    row = shown(head, lowest_again, detector, tmp_path, clock)
    assert row.priority is priority, row.reason
    assert len(row.scans) == 2
