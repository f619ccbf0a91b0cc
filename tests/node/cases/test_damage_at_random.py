"""Whatever is damaged or doubled: a bleed in view is flagged, and what was not seen not cleared."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydicom import Dataset

from node.case_folder import CaseFolder
from node.cases.triage import triage
from node.dicom.read.damage import Damaged
from node.dicom.read.pixels import load_volume
from node.outcomes import Triaged
from node.states import Priority, Reason
from tests.support.builder import HEAD, INTERCEPT, alone, encoded, pixels, store
from tests.support.working import Predictor

pytestmark = pytest.mark.slow

CLOT = 72 - INTERCEPT
LESION = range(15, 18)
BLEEDS = HEAD.build()
NORMAL = pixels(lambda p: np.where(p == CLOT, 35 - INTERCEPT, p))(HEAD.build())


@dataclass(frozen=True)
class Sent:
    """One image of a position: what it shows, and whether it can be read."""

    bleeds: bool
    damaged: bool

    def file(self, index: int, number: int) -> bytes:
        """The image as number 1, 2, ... of its position; each has pixels of its own."""
        ds: Dataset = deepcopy((BLEEDS if self.bleeds else NORMAL)[index])
        ds.InstanceNumber = 10 * (index + 1) + number  # numbers that do not tell runs apart
        if number > 1:
            ds.SOPInstanceUID = f"{ds.SOPInstanceUID[:58]}.{number}"
            stored = np.frombuffer(ds.PixelData, "<i2").copy()
            stored[0] += number  # in the air of the corner
            ds.PixelData = stored.tobytes()
        if self.damaged:
            del ds.RescaleSlope
        return encoded(ds)


@dataclass(frozen=True)
class Position:
    images: Sequence[Sent] = field(default_factory=tuple)

    @property
    def sound(self) -> list[Sent]:
        return [image for image in self.images if not image.damaged]


@st.composite
def series(draw: st.DrawFn) -> list[Position]:
    """30 positions; few or many images are damaged, some positions hold two or three images."""
    broken = draw(st.sampled_from([0.0, 0.0, 0.1, 0.4, 0.6]))
    again = draw(st.sampled_from([0.0, 0.1, 0.3]))
    bleeding = draw(st.sampled_from([0.0, 0.0, 0.3, 1.0]))
    random = draw(st.randoms(use_true_random=False))

    def sent() -> Sent:
        return Sent(random.random() < bleeding, random.random() < broken)

    def count() -> int:
        return random.choice((2, 3)) if random.random() < again else 1

    return [Position([sent() for _ in range(count())]) for _ in range(30)]


def read(positions: Sequence[Position], root: Path) -> Triaged:
    files = [
        image.file(index, number)
        for index, position in enumerate(positions)
        for number, image in enumerate(position.images, start=1)
    ]
    _, plan = alone(store(files, root))
    assert plan is not None and not plan.reason
    folder = CaseFolder(root, "cases/1")
    folder.make()
    folder.write_plan(plan)
    return triage(plan, Predictor(), folder=folder, decode=load_volume)  # type: ignore[arg-type]


@given(series())
@hypothesis_settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.generate],  # a smaller example is found by hand sooner than by chance
)
def test_a_bleed_in_view_is_flagged_and_what_was_not_seen_is_not_cleared(
    positions: list[Position],
) -> None:
    damaged = sum(image.damaged for position in positions for image in position.images)
    visible = any(image.bleeds for index in LESION for image in positions[index].sound)
    left = sum(bool(position.sound) for position in positions)
    with TemporaryDirectory() as root:
        try:
            found = read(positions, Path(root))
        except Damaged as refused:
            assert left <= 15 and refused.code is Reason.NOT_HOUNSFIELD
            return
    assert left > 15
    assert (found.priority is Priority.SUSPECTED) == visible
    assert (found.priority is Priority.NOT_SUSPECTED) == (not visible and not damaged)
    said = [text for text in found.limitations if "could not be decoded" in text]
    assert [text.split()[0] for text in said] == ([str(damaged)] if damaged else [])
