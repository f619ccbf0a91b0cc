"""A database that release 0.4.0 made reads the same after an upgrade.

`tests/support/release_0_4_0` holds the database's dump, the plans of its cases (series.json), and
what 0.4.0 said of it: studies read, passed over, not analysed, failed, superseded, still arriving;
deliveries sent, owed, given up and cancelled.
"""

import gzip
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from node.cases.explain import explain_study
from node.settings import Settings
from node.worklist import Worklist, upgrade
from tests.support import ROOT

RELEASE = ROOT / "tests" / "support" / "release_0_4_0"
SAID: dict[str, Any] = json.loads((RELEASE / "said.json").read_text())
NOW = datetime.fromisoformat(SAID["now"])


def unpacked(name: str) -> str:
    return gzip.decompress((RELEASE / name).read_bytes()).decode()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The data folder of 0.4.0, upgraded."""
    folder = tmp_path_factory.mktemp("release")
    with closing(sqlite3.connect(folder / "ichnode.sqlite")) as connection:
        connection.executescript(unpacked("worklist.sql.gz"))
    for case, plan in json.loads(unpacked("plans.json.gz")).items():
        path = folder / "cases" / case / "series.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(plan))
    settings = Settings(data_dir=Path(folder), assemble={"min_slices": 8})
    upgrade(settings.url, idle_s=settings.assemble.idle_s)
    return settings


@pytest.fixture
def worklist(settings: Settings) -> Iterator[Worklist]:
    with Worklist(settings.url) as opened:
        yield opened


def told(shown: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return each row of the worklist beside what 0.4.0 said."""
    return list(zip(shown, SAID["worklist"], strict=True))


def test_the_worklist_and_its_deliveries_read_the_same(worklist: Worklist) -> None:
    shown = [row.to_json() for row in worklist.views.worklist(NOW)]
    assert [{key: row[key] for key in said} for row, said in told(shown)] == SAID["worklist"]
    added = {"case_id", "door_to_pacs_s", "limitations", "scans", "withdrawn"}
    added |= {"pixels_purged_at", "results_purged_at"}
    assert all(set(row) - set(said) == added for row, said in told(shown))
    assert {line["status"] for row in shown for line in row["deliveries"]} >= {
        "SENT",
        "DEAD",
        "OWED",
    }


def test_acknowledgements_stand(worklist: Worklist) -> None:
    rows = worklist.views.worklist(NOW)
    by = {row.study_instance_uid: [row.acknowledged_by, row.agrees] for row in rows}
    assert by == SAID["acknowledged"]
    assert ["Dr. A", True] in by.values()


def corrected(said: dict[str, Any]) -> dict[str, Any]:
    """Return what 0.4.0 said, without its mistake: it called a series read whose reading failed.

    It knew no withdrawals, and said nothing of replays; no case of these was replayed.
    """
    failed = {"taken": False, "decision": None}
    series = [
        {**one, **failed} if one["cases"][-1]["state"] == "FAILED" else one
        for one in said["series"]
    ]
    for one in series:
        one["cases"] = [{**case, "withdraws": False, "replay": None} for case in one["cases"]]
    return {**said, "series": series}


@pytest.mark.parametrize("study", SAID["explain"])
def test_every_study_is_explained_as_before(
    worklist: Worklist, settings: Settings, study: str
) -> None:
    told = explain_study(study, worklist, settings, NOW).to_json()
    said = corrected(SAID["explain"][study])
    assert {name: told[name] for name in said} == said
    assert set(told) - set(said) == {"door_to_pacs_s", "purged", "withdrawn"}


@pytest.mark.parametrize("study", SAID["events"])
def test_what_happened_stays_as_it_was_noted(worklist: Worklist, study: str) -> None:
    events = [[e.at.isoformat(), e.what, e.case_id, e.detail] for e in worklist.views.events(study)]
    assert events == SAID["events"][study]


def test_deliveries_that_were_owed_still_go_out(worklist: Worklist) -> None:
    with closing(sqlite3.connect(":memory:")) as before:
        before.executescript(unpacked("worklist.sql.gz"))
        query = "SELECT count(*) FROM delivery WHERE status = 'OWED'"
        (owed,) = before.execute(query).fetchone()
    claimed = []
    while batch := worklist.outbox.claim("d1", 60, NOW):
        claimed += batch
    assert len(claimed) == owed > 0
    for delivery in claimed:
        found = delivery.parcel.object
        assert (delivery.parcel.channel, delivery.parcel.dedup_key) == (
            "dicom",
            found.sop_instance_uid,
        )
        assert found.path == f"cases/{delivery.case_id}/report/{found.kind}.dcm"
