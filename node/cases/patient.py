"""Whose a report is, where the patient index has corrected the identity of its study."""

from dataclasses import replace

from node.announced import Corrected
from node.arrive.adt import read_person
from node.depot import Depot
from node.records import SeriesPlan
from node.worklist import Outbox


def corrected(plan: SeriesPlan, outbox: Outbox, case_id: int, depot: Depot) -> SeriesPlan:
    """Return the plan with the patient whose the study is now, and the report that it supersedes.

    The name comes from the messages themselves, since the worklist holds none. Where a study went
    to another PatientID and no message has a name, it is left empty: the images' is another's.

    Raises
    ------
    OSError, Malformed
        If the message is gone or damaged.
    """
    found = outbox.corrections(case_id)
    if not found:
        return plan
    last = found[-1]
    said = [read_person(depot.bring(each.path), each.sha256) for each in reversed(found)]
    moved = any(each.was.patient_id != each.now.patient_id for each in found)
    name = next((name for name, _ in said if name), "" if moved else None)
    sex = next((sex for _, sex in said if sex), "")
    by = Corrected(last.now.patient_id, last.now.birth_date, name, sex)
    older = outbox.under_other_identity(case_id, "sr", last)
    return replace(plan, corrected=by, replaces=older or plan.replaces)
