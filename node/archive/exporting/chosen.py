"""Which images of a study the node reads, and their pixels."""

from dataclasses import dataclass

from models.volume import Volume
from node.archive.corridor import assembled, case_folder, read
from node.archive.reading import Filed
from node.cases.covers import covers
from node.cases.pipeline import Node
from node.errors import Refused
from node.records import SeriesPlan
from node.states import Reason, State


@dataclass(frozen=True, slots=True)
class Images:
    """The images that are read of a study, and the volume of them."""

    plan: SeriesPlan
    volume: Volume


def images_read(study: Filed) -> Images:
    """Return the images that speak for a study.

    Networks say which those are where several of its scans are read, or several images lie at one
    position; any other study is not read again for that.

    Raises
    ------
    Refused
        If there are none, or they cannot be decoded.
    """
    node = study.node
    if study.missing:
        raise Refused(Reason.UNDECODABLE, study.missing)
    alone = _alone(study)
    if alone is not None:
        return alone
    row = read(study.study_instance_uid, node, lambda _: None)
    plan = case_folder(row, node).read_plan_as_read()
    if plan is None:
        said = row.reason or "no series of it could be read"
        raise Refused(row.reason_code or Reason.INTERNAL, said)
    return Images(plan, node.decode(plan, node.root))


def _alone(study: Filed) -> Images | None:
    """Return the images if no other ones of the study are read; None if a reading must tell."""
    node = study.node
    rows = assembled(study.study_instance_uid, node)
    standing = [row for row in rows if row.state is not State.SKIPPED]
    if [row.state for row in standing] != [State.ASSEMBLED]:
        return None
    series = covers(case_folder(standing[0], node).require_plan(), lambda part: _decode(part, node))
    return Images(series.covers[0], series.volume) if series.volume is not None else None


def _decode(plan: SeriesPlan, node: Node) -> Volume:
    return node.decode(plan, node.root)
