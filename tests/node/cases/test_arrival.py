"""However a series arrives, in the end the same volume is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.volume import Volume
from node.arrive.filing import ingest
from node.arrive.spool import Spool
from node.cases.pipeline import run_stage
from node.dicom.read.pixels import load_volume
from node.records import SeriesPlan
from node.states import State
from node.worklist import Worklist
from tests.support.builder import HEAD, Edit, Scan, again, encoded, plus
from tests.support.databases import OwnDatabase, new_database
from tests.support.watched import WatchedNode
from tests.support.working import Clock

pytestmark = pytest.mark.slow

TENS = HEAD(gaps_mm=(10.0,) * 14, thickness_mm=10.0)
SENT: dict[str, tuple[Scan, *tuple[Edit, ...]]] = {
    "tilted with zones": (HEAD(tilt_deg=18.5, gaps_mm=(7.0,) * 8 + (10.0,) * 8),),
    "oblique, with a copy": (TENS(orientation=(1, 0, 0, 0, 0.96, -0.28)), again(4)),
    "scanned twice": (TENS, plus(TENS(acquisition=2, start_mm=-71.0))),
}


@dataclass(frozen=True, slots=True)
class Association:
    """The images that one association carries, by index, and the silence after it."""

    images: tuple[int, ...]
    silence_s: float


@st.composite
def arrivals(draw: st.DrawFn, count: int) -> list[Association]:
    """Every image once or more, in any order, over some associations with silences between."""
    twice = draw(st.lists(st.integers(0, count - 1), max_size=count))
    sent = draw(st.permutations([*range(count), *twice]))
    cuts = sorted(draw(st.sets(st.integers(1, len(sent) - 1), max_size=3)))
    return [
        Association(tuple(sent[a:b]), draw(st.sampled_from([0.0, 1.0, 3.0, 90.0])))
        for a, b in pairwise([0, *cuts, len(sent)])
    ]


def arrive(
    files: Sequence[bytes], associations: Sequence[Association], own_database: OwnDatabase
) -> tuple[SeriesPlan, Volume]:
    """Receive the files and assemble whenever there is silence; return what is read at last."""
    clock = Clock()
    with TemporaryDirectory() as temporary:
        settings = own_database(Path(temporary) / "data")
        new_database(settings.url)
        with Worklist(settings.url) as worklist:
            node = WatchedNode.on(worklist, settings, never, clock)
            spool = Spool(node.root, min_free_mb=0)
            for association in associations:
                for index in association.images:
                    header, _ = ingest(
                        files[index], worklist.arrivals, spool, caller="CT", now=clock()
                    )
                worklist.arrivals.release([header.series_instance_uid], clock())
                clock.wait(association.silence_s)
                assemble(node)
            clock.wait(90)
            assemble(node)
            case = max(worklist.cases.of_study(header.study_instance_uid), key=lambda case: case.id)
            assert case.state is State.ASSEMBLED, case.reason
            plan = node.folder(case).require_plan()
            return plan, load_volume(plan, node.root)


def never() -> None:
    raise AssertionError("nothing is triaged here")


def assemble(node: WatchedNode) -> None:
    while case := node.worklist.cases.claim([State.RECEIVING], "worker", 60, node.clock()):
        node.worklist.cases.finish(case, "worker", run_stage(case, node), node.clock())


@pytest.fixture(scope="module", params=SENT)
def sent(
    request: pytest.FixtureRequest, own_database: OwnDatabase
) -> tuple[list[bytes], SeriesPlan, Volume]:
    """The files of a series, and what is read of them if they come in order, all at once."""
    scan, *edits = SENT[request.param]
    images = scan.build()
    for edit in edits:
        images = edit(images)
    files = [encoded(ds) for ds in images]
    return files, *arrive(files, [Association(tuple(range(len(files))), 90.0)], own_database)


@given(data=st.data())
@hypothesis_settings(max_examples=5, deadline=None, derandomize=True)
def test_shuffled_split_or_repeated_the_same_slices_are_read_as_the_same_volume(
    sent: tuple[list[bytes], SeriesPlan, Volume], own_database: OwnDatabase, data: st.DataObject
) -> None:
    files, plan, volume = sent
    found, seen = arrive(files, data.draw(arrivals(len(files))), own_database)
    assert (found.slices, found.copies) == (plan.slices, plan.copies)
    assert found.limitations == plan.limitations
    assert np.array_equal(seen.hu, volume.hu)
    assert np.array_equal(seen.positions_mm, volume.positions_mm)
