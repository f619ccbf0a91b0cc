"""A year of a node that is left alone: its disk stays bounded, and nothing goes that must stay."""

import logging
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.jobs.tidying import Tidying
from node.settings import Retention, Rule, Settings
from node.worklist import Worklist
from node.worklist.schema import tables as t
from node.worklist.schema.running_tables import purge
from tests.support.databases import new_database
from tests.support.working import Clock

DAY = timedelta(days=1)
STUDY_MB, RESULTS_MB = 200, 3
"""A study of 400 thin slices and its report (docs/operations.md)."""
RULES = (
    Rule(remove="pixels", after_days=30),
    Rule(remove="pixels", after_days=2, below_free_mb=60_000),
    Rule(remove="all", after_days=180),
)


class Year:
    """A disk whose files are tiny, and weigh what their rows say; studies come by the day.

    Of each hundred studies ten are suspected (nobody acknowledges one of them), one fails, one is
    never delivered, and one has an object in quarantine.
    """

    def __init__(self, root: Path, worklist: Worklist, settings: Settings, disk_mb: int) -> None:
        self.root, self.worklist, self.disk_mb = root, worklist, disk_mb
        self.engine = sa.create_engine(settings.url, poolclass=sa.NullPool)
        self.clock = Clock()
        self.clock.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.tidying = Tidying(settings, worklist.retention, self.clock, self.free_mb)
        self.number = 0
        (root / "received").mkdir()

    def used_mb(self) -> int:
        """Return what lies on the disk."""
        with self.engine.begin() as db:
            gone = db.scalar(sa.select(sa.func.coalesce(sa.func.sum(purge.c.size), 0))) or 0
            kept = sa.select(sa.func.count()).where(t.case.c.purged_at.is_(None))
            return self.number * STUDY_MB - (int(gone) >> 20) + (db.scalar(kept) or 0) * RESULTS_MB

    def free_mb(self) -> int:
        """Return what is free."""
        return self.disk_mb - self.used_mb()

    def day(self, studies: int) -> None:
        """Let a day pass with so many studies, all done with but those that never are."""
        numbers = range(self.number + 1, self.number + studies + 1)
        with self.engine.begin() as db:
            for number in numbers:
                self._study(db, number, number % 100)
        self.number += studies
        self.clock.now += DAY

    def _study(self, db: sa.Connection, number: int, kind: int) -> None:
        uid, now = f"1.{number}", self.clock.now
        failed, suspected = kind == 1, 10 <= kind < 20
        path = f"received/{number}.dcm"
        (self.root / path).touch()
        person = dict.fromkeys(("patient_id", "patient_birth_date", "accession_number"), "")
        study = {"study_instance_uid": uid, **person, "study_description": ""}
        db.execute(t.study.insert(), {**study, "first_received_at": now})
        times = {"first_received_at": now, "last_received_at": now}
        db.execute(
            t.series.insert(), {"series_instance_uid": uid, "study_instance_uid": uid, **times}
        )
        file = {"path": path, "sha256": f"{number:064d}", "size": STUDY_MB << 20, "caller": "CT1"}
        names = {"sop_instance_uid": uid, "series_instance_uid": uid}
        db.execute(
            t.instance.insert(),
            {**names, **file, "header": {}, "received_at": now, "catalogued": True},
        )
        priority = "SUSPECTED" if suspected else "NOT_ANALYSED" if failed else "NOT_SUSPECTED"
        read = {"probability": 0.9 if suspected else 0.1}
        why = {"reason": "a test", "reason_code": "INTERNAL"} if failed else read
        state = "FAILED" if failed else "REPORTED" if kind == 2 else "DELIVERED"
        ended = {"delivered_at": now} if state == "DELIVERED" else {}
        values = {"id": number, "series_instance_uid": uid, "state": state, "priority": priority}
        due = {"due_at": now, "last_slice_at": now, "flagged_at": now}
        db.execute(t.case.insert().values({**values, **why, **due, **ended}))
        sent = {"case_id": number, "channel": "dicom", "kind": "sr", "payload_path": ""}
        to = {"dedup_key": uid, "address": {}, "destination": "PACS", "due_at": now}
        status = "DEAD" if kind == 2 else "SENT"
        db.execute(t.delivery.insert().values({**sent, **to, "status": status}))
        if suspected and kind != 10:
            seen = {"study_instance_uid": uid, "who": "reader", "shown": "SUSPECTED", "at": now}
            db.execute(t.acknowledgement.insert().values(seen))
        if kind == 3:
            aside = {"study_instance_uid": uid, "code": "CHANGED", "reason": "", "caller": ""}
            db.execute(t.quarantine.insert().values({**file, **aside, "at": now}))

    def purged(self, kind: int) -> tuple[set[bool], set[bool]]:
        """Return whether pixels, and results, of the studies of a kind are purged."""
        pixels, results = t.study.c.pixels_purged_at, t.case.c.purged_at
        query = sa.select(pixels.is_not(None), results.is_not(None)).join_from(t.study, t.series)
        with self.engine.begin() as db:
            rows = db.execute(query.join(t.case).where(t.case.c.id % 100 == kind)).all()
        return {bool(row[0]) for row in rows}, {bool(row[1]) for row in rows}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory, since a year has many commits."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as found:
        yield Path(found)


@pytest.mark.parametrize(
    ("studies", "disk_mb"),
    [
        pytest.param(3, 25_000, marks=pytest.mark.slow, id="a twentieth of it"),
        pytest.param(
            *(60, 500_000),
            marks=[pytest.mark.soak, pytest.mark.timeout(7200)],
            id="60 studies a day on 500 GB",
        ),
    ],
)
def test_a_year_fits_on_the_disk_and_nothing_protected_goes(
    studies: int, disk_mb: int, folder: Path
) -> None:
    rules = tuple(
        rule.model_copy(update={"below_free_mb": rule.below_free_mb * studies // 60})
        for rule in RULES
    )
    settings = Settings(data_dir=folder, retention=Retention(rules=rules))
    new_database(settings.url)
    with Worklist(settings.url) as worklist:
        year = Year(folder, worklist, settings, disk_mb)
        most = 0
        for _ in range(365):
            year.day(studies)
            most = max(most, year.used_mb())
            year.tidying.by_rules()
        shares = most / disk_mb, year.used_mb() / disk_mb
        logging.getLogger(__name__).warning("%.3f of the disk at most, %.3f at the end", *shares)
        left = len(list((folder / "received").iterdir()))
        rows = worklist.views.worklist(year.clock.now)
    assert most < disk_mb
    assert len(rows) == 365 * studies
    for kind in (1, 2, 3):
        assert year.purged(kind) == ({False}, {False})
    assert year.purged(10)[1] == {False} and True in year.purged(10)[0]
    assert True in year.purged(11)[0] and True in year.purged(11)[1]
    assert left == sum(row.pixels_purged_at is None for row in rows)
    assert left * STUDY_MB < disk_mb
