"""The report of a case that withdraws a result, for each archive that got it or was owed it.

    structured report  sr.dcm         always
    plain report       text.dcm       always
    capture            capture.dcm    always
    rejection note     rejection.dcm  if an archive asks for it that may have the result

It is made from the images; where those were purged, with the identity of the withdrawn report.
"""

import dataclasses
from collections.abc import Sequence

from node.case_folder import CaseFolder, case_folder
from node.depot import Depot
from node.dicom.write.source import Source, read_source, source_by_report
from node.errors import Permanent
from node.records import Parcel, Predecessor, ReportObject, Series, SeriesPlan, Withdrawal
from node.settings import Destination

KINDS = ("sr", "text", "capture")
"""What an archive gets of these is what it is set to get; the first, if it is set to get none."""


def plan_of(
    cases: Sequence[int], said: Withdrawal, replaces: Predecessor | None, depot: Depot
) -> SeriesPlan:
    """Return the plan by which a withdrawn result was made, with the date of its withdrawal.

    Parameters
    ----------
    cases
        The cases that made the result, the newest first.
    replaces
        The newest report of it that an archive may have.

    Raises
    ------
    Permanent
        If no plan of it is left: then no archive can be told.
    """
    folders = (CaseFolder(depot.seen(case_folder(one)), case_folder(one)) for one in cases)
    plans = (plan for folder in folders if (plan := folder.read_plan_as_read()) is not None)
    plan = next(plans, None)
    if plan is None:
        raise Permanent(
            "the withdrawn result was purged, so no report can be made that withdraws it: "
            "delete it at each archive that has it"
        )
    date = said.at.isoformat()
    return dataclasses.replace(plan, decided_at=date, replaces=replaces, limitations=(), unseen=())


def source_of(
    plan: SeriesPlan, received: Sequence[Series], cases: Sequence[int], depot: Depot
) -> Source:
    """Return the series of a plan; its identity is that of the withdrawn report if it was purged.

    Raises
    ------
    Permanent
        If neither is left.
    """
    known = {one.header.sop_instance_uid: one for series in received for one in series.received}
    refs = (*plan.slices, *plan.copies)
    if not any(known[ref.sop_instance_uid].purged_at for ref in refs):
        depot.bring_all(ref.path for ref in refs)
        return read_source(plan, depot.root)
    headers = {ref.sop_instance_uid: known[ref.sop_instance_uid].header for ref in plan.slices}
    for one in cases:
        folder = CaseFolder(depot.seen(case_folder(one)), case_folder(one))
        for kind in ("sr", "text"):
            source = source_by_report(plan, headers, folder.root / folder.object_path(kind))
            if source is not None:
                return source
    raise Permanent(
        "the images were purged and so was the report that is withdrawn: no report can be made; "
        "delete the withdrawn objects at each archive that has them"
    )


def owed_of(
    objects: Sequence[ReportObject], archives: Sequence[Destination], told: frozenset[str]
) -> tuple[tuple[str, Parcel], ...]:
    """Return what each archive gets: of the report what it takes, of those that were told."""
    return tuple(
        (archive.name, Parcel.of(item))
        for archive in archives
        if archive.name in told
        for item in objects
        if item.kind in _taken_by(archive)
    )


def _taken_by(archive: Destination) -> set[str]:
    kinds = set(KINDS).intersection(archive.send) or {KINDS[0]}
    return kinds | ({"rejection"} if archive.rejection_note else set())
