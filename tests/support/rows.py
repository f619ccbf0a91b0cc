"""Rows of the worklist, made without a database."""

from datetime import UTC, datetime, timedelta

from node.states import Priority, State
from node.worklist.studies.rows import Row

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def row(
    case_id: int,
    priority: Priority = Priority.PENDING,
    state: State = State.TRIAGED,
    *,
    waited: timedelta = MINUTE,
    acknowledged: bool = False,
    supersedes: int | None = None,
    probability: float | None = None,
    uncertain: bool = False,
    reason: str | None = None,
    prior: bool = False,
) -> Row:
    """Return the row of a study that came `waited` before NOW, its case just triaged."""
    return Row(
        study_instance_uid=f"1.7.{case_id}",
        patient_id="P",
        accession_number="A",
        priority=priority,
        probability=probability,
        uncertainty=0.31 if uncertain else None,
        uncertain=uncertain,
        volume_ml=None,
        subtypes={},
        reason=reason,
        series_instance_uid=f"1.8.{case_id}",
        key_slice_sop_instance_uid=None,
        bundle=None,
        received_at=NOW - waited,
        flagged_at=None,
        delivered_at=None,
        case_id=case_id,
        supersedes=supersedes,
        state=state,
        study_description="",
        reason_code=None,
        limitations=(),
        first_received_at=NOW - waited,
        assembled_at=None,
        triaged_at=None,
        reported_at=None,
        prior=prior,
        acknowledged_at=NOW if acknowledged else None,
    )
