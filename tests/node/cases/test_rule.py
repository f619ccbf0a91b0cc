"""The rule over the whole node: what was not seen is not cleared, what was seen may be flagged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from node.arrive.filing import file_or_set_aside
from node.arrive.spool import Spool
from node.states import Priority
from node.worklist import Row, Worklist
from tests.support.builder import HEAD, encoded
from tests.support.databases import OwnDatabase, new_database
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, work

pytestmark = pytest.mark.slow

COUNT = 30
IMAGES = HEAD.build()
STORED = [np.frombuffer(ds.PixelData, np.int16) for ds in IMAGES]
BLEED = frozenset(n for n, stored in enumerate(STORED) if np.any(stored == 72 + 1024))
"""The slices that show the clot."""
FILES = [encoded(ds) for ds in IMAGES]
NORMAL = []
for image, pixels in zip(HEAD(name="normal").build(), STORED, strict=True):
    image.PixelData = np.where(pixels == 72 + 1024, 1024 + 35, pixels).tobytes()
    NORMAL.append(encoded(image))


SERIES = (str(IMAGES[0].SeriesInstanceUID), str(image.SeriesInstanceUID))


@dataclass(frozen=True)
class Sent:
    """One image on its way: which, whether it is cut short, and the silence after it."""

    number: int
    cut_short: bool
    silence_s: float
    released: bool


def sendings(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[list[Sent]]:
    one = st.builds(
        Sent,
        numbers,
        st.sampled_from([False] * 9 + [True]),
        st.sampled_from([0.0] * 8 + [3.0, 70.0]),
        st.sampled_from([True, False]),
    )
    return st.lists(one, min_size=1, max_size=45)


@st.composite
def arrivals(draw: st.DrawFn) -> list[Sent]:
    """Most images of a series in any order, some twice, some cut short, with silences between."""
    lost = draw(st.sets(st.integers(0, COUNT - 1), max_size=8))
    order = draw(st.permutations([n for n in range(COUNT) if n not in lost]))
    more = draw(sendings(st.sampled_from(order)))
    fates = {sent.number: sent for sent in more}
    plain = [fates.get(n, Sent(n, cut_short=False, silence_s=0.0, released=False)) for n in order]
    return [*plain, *more[: draw(st.integers(0, 6))]]


def shown(files: Sequence[bytes], arriving: Sequence[Sent], own_database: OwnDatabase) -> Row:
    """Return how the study stands in the end."""
    clock = Clock()
    with TemporaryDirectory() as temporary:
        settings = own_database(Path(temporary) / "data")
        new_database(settings.url)
        with Worklist(settings.url) as worklist:
            node = WatchedNode.on(worklist, settings, lambda: Predictor(), clock)
            spool = Spool(node.root, min_free_mb=0)
            for sent in arriving:
                data = files[sent.number]
                data = data[: len(data) - 600] if sent.cut_short else data
                file_or_set_aside(data, worklist.arrivals, spool, caller="CT", now=clock())
                if sent.released:
                    worklist.arrivals.release([SERIES[files is NORMAL]], clock())
                if sent.silence_s:
                    clock.wait(sent.silence_s)
                    work(node, clock)
            work(node, clock)
            (row,) = worklist.views.worklist(clock())
            return row


def whole(arriving: Sequence[Sent]) -> set[int]:
    return {sent.number for sent in arriving if not sent.cut_short}


@given(arrivals())
@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_bleed_in_view_is_flagged_however_it_arrives(
    own_database: OwnDatabase, arriving: list[Sent]
) -> None:
    row = shown(FILES, arriving, own_database)
    if whole(arriving) & BLEED and len(whole(arriving)) >= 3:
        assert row.priority is Priority.SUSPECTED, row.reason
    else:
        assert row.priority is Priority.NOT_ANALYSED


@given(arrivals())
@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_did_not_come_whole_is_named_and_not_cleared(
    own_database: OwnDatabase, arriving: list[Sent]
) -> None:
    row = shown(NORMAL, arriving, own_database)
    came = whole(arriving)
    lost = set(range(min(came), max(came))) - came if came else set()
    damaged = {sent.number for sent in arriving} - came
    if row.priority is Priority.NOT_SUSPECTED:
        assert not lost and not damaged and len(came) * 5 >= 80
    else:
        assert row.priority is Priority.NOT_ANALYSED and row.reason
