"""A year of a department's worklist: scanners, results and reports drawn at random, row by row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from node.records import Frame, Header, StoredObject
from node.reported import Answer, ReportLabel, ReportStatus
from node.states import Priority, State
from node.worklist import Counted, KeptReport
from node.worklist.schema.database import Database
from node.worklist.schema.tables import case, instance, series, study

BEGIN = datetime(2025, 12, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Machine:
    """A scanner and how its studies turn out; from study `changes` on, `later` is suspected."""

    model: str
    share: float
    suspected: float = 0.12
    refused: float = 0.04
    agrees: float = 0.93
    reported: float = 0.9
    changes: int | None = None
    later: float = 0.12


CALM = (Machine("Force", 0.5), Machine("Revolution", 0.3, suspected=0.08), Machine("Aquilion", 0.2))


def year(
    seed: int, machines: Sequence[Machine] = CALM, studies: int = 4000
) -> Iterator[tuple[Counted, KeptReport | None]]:
    """Yield studies, and the reports of most, in the order in which they came.

    Outcomes are drawn apart, so that one can change alone: a probability tells nothing of the rest.
    """
    rng = np.random.default_rng(seed)
    seen = dict.fromkeys(machines, 0)
    which = rng.choice(len(machines), studies, p=[one.share for one in machines])
    for number in range(studies):
        machine = machines[int(which[number])]
        seen[machine] += 1
        changed = machine.changes is not None and seen[machine] > machine.changes
        rate = machine.later if changed else machine.suspected
        priority = Priority.SUSPECTED if rng.random() < rate else Priority.NOT_SUSPECTED
        if rng.random() < machine.refused:
            priority = Priority.NOT_ANALYSED
        came = BEGIN + timedelta(days=365 * number / studies)
        read = priority is not Priority.NOT_ANALYSED
        bleeds = priority is Priority.SUSPECTED
        one = Counted(
            f"1.7.{number + 1}", came, priority, None if read else "CONTRAST", came,
            float(rng.lognormal(4, 0.5)), "CT1", "Maker",
            case_id=number + 1,
            probability=float(rng.beta(2, 5)) if read else None,
            bundle="weights@1" if number < studies // 3 else "weights@2",
            model=machine.model,
        )  # fmt: skip
        report = None
        if read and rng.random() < machine.reported:
            said = bleeds == (rng.random() < machine.agrees)
            answer = Answer.BLEEDS if said else Answer.NONE
            label = ReportLabel(answer, "A sentence.", "a rule", "en")
            at = came + timedelta(hours=1)
            uid = one.study_instance_uid
            report = KeptReport(uid, ReportStatus.FINAL, label, at, at)
        yield one, report


def put(database: Database, studies: Sequence[Counted]) -> None:
    """Insert studies as they stand when their results were delivered."""
    tables = (study, series, instance, case)
    rows: dict[str, list[dict[str, object]]] = {table.name: [] for table in tables}
    for one in studies:
        uid, number, came = one.study_instance_uid, one.case_id, one.received_at
        image = Header(
            "1.2.840.10008.5.1.4.1.1.2", f"1.9.{number}", uid, f"1.8.{number}", "1.2",
            (Frame(None, None),), patient_id="P", manufacturer=one.manufacturer,
            manufacturer_model_name=one.model,
        )  # fmt: skip
        stored = StoredObject(f"{number}", f"{number:064}", 1)
        refused = one.priority is Priority.NOT_ANALYSED
        door = timedelta(seconds=one.door_to_flag_s or 0)
        rows["study"].append({
            "study_instance_uid": uid, "patient_id": "P", "patient_birth_date": "",
            "accession_number": f"A{number}", "study_description": "", "first_received_at": came,
        })  # fmt: skip
        rows["series"].append({
            "series_instance_uid": f"1.8.{number}", "study_instance_uid": uid,
            "first_received_at": came, "last_received_at": came,
        })  # fmt: skip
        rows["instance"].append({
            "sop_instance_uid": f"1.9.{number}", "series_instance_uid": f"1.8.{number}",
            "path": stored.path, "sha256": stored.sha256, "size": 1, "caller": "CT1",
            "header": image.to_json(), "received_at": came,
        })  # fmt: skip
        rows["case"].append({
            "series_instance_uid": f"1.8.{number}", "state": State.DELIVERED,
            "priority": one.priority, "due_at": came, "attempts": 0,
            "probability": one.probability, "bundle": one.bundle, "last_slice_at": came,
            "flagged_at": came + door, "reason_code": one.reason_code,
            "reason": "with contrast" if refused else None,
        })  # fmt: skip
    with database.write() as db:
        for table in tables:
            db.execute(table.insert(), rows[table.name])
