"""The node's own stages on a private worklist and spool, without network.

So a study is judged and read as if a PACS had sent it.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from node.arrive.intake import Intake
from node.arrive.media import Found, file_all
from node.case_folder import CaseFolder
from node.cases.pipeline import PIPELINE, Node
from node.cases.worker import work_once
from node.settings import Settings, Storage
from node.states import State
from node.worklist import Row

NETWORK_FIELDS = (
    *("case_id", "prior", "received_at", "flagged_at", "delivered_at", "door_to_flag_s"),
    *("door_to_pacs_s", "closed_by", "saved_s", "deliveries"),
)
"""Fields of the worklist's JSON that say something only of studies received by network."""

Tell = Callable[[str], None]


def private(settings: Settings, folder: Path) -> Settings:
    """Return settings that write inside `folder` alone and wait for no more slices."""
    return settings.model_copy(
        update={
            "data_dir": folder,
            "database_url": "",
            "storage": Storage(),
            "assemble": settings.assemble.model_copy(
                update={"grace_s": 0.0, "idle_s": 0.0, "prior_after_days": 0}
            ),
            "work": settings.work.model_copy(update={"max_attempts": 1, "max_interruptions": 0}),
            "receive": settings.receive.model_copy(update={"min_free_mb": 0}),
            "deliver": settings.deliver.model_copy(update={"destinations": ()}),
        }
    )


def ingest(found: Found, node: Node, tell: Tell, blame: Tell) -> tuple[int, int]:
    """File everything; return how many series came, and how many files could not be used.

    Parameters
    ----------
    tell
        Is called with a line on each file that is no part of a study.
    blame
        Is called with a line on each file that should have been used and could not be.
    """
    intake = Intake(node.settings, node.arrivals, node.clock)
    for _ in file_all(found, intake):
        pass
    faults = 0
    for left in intake.left_out:
        faults += left.fault
        (blame if left.fault else tell)(f"{left.name} is left out: {left.reason}")
    return len(intake.series), faults


def assembled(uid: str, node: Node) -> tuple[Row, ...]:
    """Decide which series of a study are read, but read none; return its cases."""
    while work_once(node, "analyse", study_uid=uid, states={State.RECEIVING}):
        pass
    return node.views.history(uid)


def read(uid: str, node: Node, blame: Tell) -> Row:
    """Read a study to its end, and return it.

    Parameters
    ----------
    blame
        Is called with a line on each case whose reading or report failed.
    """
    while work_once(node, "analyse", study_uid=uid):
        pass
    for fault in _unfinished(node.views.history(uid)):
        blame(fault)
    return node.views.study(uid)


def _unfinished(history: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each case of a study that failed, or that no stage could end."""
    for row in history:
        if row.state is State.FAILED or row.state in PIPELINE:
            what = row.reason or f"it stands at {row.state} and was not finished"
            yield (
                f"study {row.study_instance_uid}, series {row.series_instance_uid}: no report was "
                f"written: {what}"
            )


def describe(row: Row, node: Node) -> dict[str, Any]:
    """Return the study's object as `ichnode analyse --json` documents it."""
    values = row.to_json()
    for name in NETWORK_FIELDS:
        del values[name]
    folder = case_folder(row, node)
    found = folder.read_findings()
    return {**values, "mimics": list(found.mimics) if found else [], "slices": _slices(folder)}


def case_folder(row: Row, node: Node) -> CaseFolder:
    """Return the folder of the case that speaks for a study."""
    return CaseFolder(node.root, row.folder)


def _slices(folder: CaseFolder) -> list[dict[str, Any]]:
    """Return every source slice in reading order; its probabilities are None if it was not read."""
    plan = folder.read_plan_as_read()
    if plan is None:
        return []
    found = folder.read_findings()
    findings = found.slices if found else None
    return [
        {
            "sop_instance_uid": ref.sop_instance_uid,
            "position_mm": ref.location_mm,
            "probability": findings[index].probability if findings else None,
            "subtypes": findings[index].subtypes if findings else None,
        }
        for index, ref in enumerate(plan.slices)
    ]
