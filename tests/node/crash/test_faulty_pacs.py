"""DCMTK's storescp as a PACS that refuses, aborts or stalls, and a peer that says nothing.

CONFORMANCE.md 2.3: what may pass is tried again, `deliver.max_attempts` times; a destination with
which no association can be made is tried by itself, and that counts as no try. What a stalled
association did not send is given back, which is no try. Another destination has its results
meanwhile.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from node.settings import Destination
from tests.support.crashing import RESULT, crashing_node, filled
from tests.support.peers import mute_peer, storescp, wait_until

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.sqlite]

TRIES = 3
STALLS_S = "60"
ENDED, SILENT = "the association ended", "did not answer the association request"
FAULTS = {
    # storescp's options: status, tries, status of the peer and its last word for each delivery
    ("--refuse",): [("OWED", 0, None, "association rejected")] * 4,
    ("--abort-during",): [("DEAD", TRIES, None, ENDED)] * 4,
    ("--abort-after",): [("DEAD", TRIES, None, ENDED)] * 4,
    ("--sleep-during", STALLS_S): [("OWED", tries, None, SILENT) for tries in (1, 0, 0, 0)],
    ("--sleep-after", STALLS_S): [
        ("SENT", 1, 0, ""),
        *(("OWED", tries, None, SILENT) for tries in (1, 0, 0)),
    ],
    ("never answers",): [("OWED", 0, None, SILENT)] * 4,
}


@contextmanager
def faulty(folder: Path, options: Sequence[str]) -> Iterator[Destination]:
    """Run the peer with a fault, named FAULTY."""
    run = mute_peer() if options == ("never answers",) else storescp(folder, *options)
    with run as destination:
        yield destination.model_copy(update={"name": "FAULTY"})


def left(node) -> list[tuple]:
    """What is noted of each delivery to the faulty peer, and its last word if it is the one known.

    Without a connection more often than `TRIES`, or without another try to come, it stays so.
    """
    query = "SELECT status, attempts, last_status, last_message FROM delivery"
    rows = node.rows(f"{query} WHERE destination = 'FAULTY' ORDER BY id")
    known = ("association rejected", ENDED, SILENT)
    word = [next((one for one in known if one in (row[3] or "")), row[3] or "") for row in rows]
    return [(*row[:3], said) for row, said in zip(rows, word, strict=True)]


@pytest.mark.parametrize("options", FAULTS, ids=lambda options: options[0].strip("-"))
def test_deliveries_to_a_faulty_peer_end_as_documented_and_the_others_go_out(
    options, tmp_path, capsys
):
    with faulty(tmp_path / "faulty", options) as peer, crashing_node(tmp_path) as node:
        well = node.archives[0]
        chosen = {"destinations": (peer, well.destination), "timeout_s": 1, "max_attempts": TRIES}
        node.set(deliver=node.settings.deliver.model_copy(update=chosen))
        filled(node, 1, read=True)
        begun = time.monotonic()
        node.mortals.start("deliver")
        wait_until(lambda: len(well.got) == len(RESULT))
        took_s = time.monotonic() - begun
        wait_until(lambda: left(node) == FAULTS[options], 30)
        if any(status == "OWED" for status, *_ in FAULTS[options]):
            wait_until(lambda: node.rows("SELECT * FROM unreachable WHERE tries > :n", n=TRIES), 30)
            assert left(node) == FAULTS[options], "no connection costs no try"
        assert well.repeats == 0
    with capsys.disabled():
        sys.stdout.write(
            f"\n{options[0]}: the other destination had its result in {took_s:.1f} s\n"
        )
