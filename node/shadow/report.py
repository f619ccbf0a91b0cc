"""What would change with the other bundle: the comparison of an archive, on the node's own cases.

A case is what a study is there: what both said of it, and what its radiologist's report says.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from node.archive.acceptance import data_url
from node.archive.adjudication import Decisions
from node.archive.comparison import Pictures, Side, Sides, comparison, comparison_page
from node.archive.evidence import LabelOf, Outcome, Result, Study
from node.archive.finding import age_band, iso_day, place
from node.errors import BadConfiguration
from node.settings import Settings
from node.shadow.pair import pair_of
from node.wording import counted
from node.worklist import Bundle, Compared, KeptReport, Run, ShadowResult, Told, Worklist

SETTLED_BY = "look at each of them at its page"


def shadow_report(
    settings: Settings, worklist: Worklist, now: datetime, *, with_words: bool = False
) -> tuple[dict[str, Any], str]:
    """Return the comparison of what was read in shadow as JSON, and as a page that loads nothing.

    Parameters
    ----------
    with_words
        Whether it carries the sentences of reports, which may name a patient.

    Raises
    ------
    BadConfiguration
        If nothing was read yet, or the bundles cannot be told.
    """
    pair = pair_of(settings, worklist.releases.newest())
    run = worklist.shadows.run(pair.other, pair.live)
    rows = [] if run is None else worklist.shadows.compared(run)
    chances = [one for one in rows if one.told.result is not ShadowResult.PURGED]
    if run is None or not chances:
        raise BadConfiguration(
            f"{pair.other} has read nothing in the shadow of {pair.live} yet: see "
            "`ichnode shadow status`"
        )
    told = comparison(
        sides(run, chances, worklist.reports.counting(), len(rows) - len(chances)),
        now,
        with_words=with_words,
    )
    numbers = {_name(one): one.case_id for one in chances}
    page = comparison_page(
        told,
        lambda names: _pictures(run, worklist, {name: numbers[name] for name in names}),
        pages=_pages(settings, numbers),
        named="Studies are the cases of this node, each a reading of one scan.",
    )
    return told, page


def sides(
    run: Run, rows: Sequence[Compared], reports: Mapping[str, KeptReport], purged: int
) -> Sides:
    """Return both bundles as a comparison takes them. Pure.

    Parameters
    ----------
    reports
        What counts of radiologists' reports, by StudyInstanceUID.
    purged
        How many cases were gone before they were read in shadow.
    """
    patients = {name: f"patient {number}" for number, name in enumerate(_patients(rows), start=1)}
    old = {_name(one): _outcome(one, one.live, run.live, patients) for one in rows}
    new = {_name(one): _outcome(one, one.told, run.bundle, patients) for one in rows}
    labels = {_name(one): _label(reports.get(one.study_instance_uid)) for one in rows}
    return Sides(
        old=Side(str(run.live), old),
        new=Side(str(run.bundle), new),
        studies=tuple(Study(outcome, labels[name]) for name, outcome in old.items()),
        decisions=Decisions((), ()),
        only_old=(),
        only_new=(),
        remarks=tuple(_remarks(rows, purged)),
        settled_by=SETTLED_BY,
    )


def _patients(rows: Sequence[Compared]) -> list[str]:
    return sorted({one.patient_id for one in rows if one.patient_id})


def _name(one: Compared) -> str:
    return f"case {one.case_id}"


def _outcome(one: Compared, told: Told, bundle: Bundle, patients: Mapping[str, str]) -> Outcome:
    origin = one.origin
    return Outcome(
        study=_name(one),
        patient=patients.get(one.patient_id, ""),
        accession="",
        result=Result(told.result.value),
        reason=told.reason,
        probability=told.probability,
        uncertain=told.uncertain,
        subtypes=told.subtypes,
        volume_ml=told.volume_ml,
        limitations=told.limitations,
        mimics=told.mimics,
        operating_point=told.operating_point,
        threshold=told.threshold,
        bundle=bundle.name,
        bundle_version=bundle.version,
        scanner=origin.get("scanner", ""),
        kernel=origin.get("kernel", ""),
        thickness_mm=origin.get("thickness_mm"),
        age_band=age_band(origin.get("age_years")),
        sex=origin.get("sex", ""),
        place=place(origin.get("places", ())),
        study_date=iso_day(origin.get("acquired", "")),
        read_at=one.read_at,
        key_slice=None,
    )


def _label(report: KeptReport | None) -> LabelOf | None:
    if report is None:
        return None
    label = report.label
    return LabelOf(label.answer.value, label.sentence, label.rule, "", ())


def _remarks(rows: Sequence[Compared], purged: int) -> list[str]:
    said = []
    several = sum(n > 1 for n in Counter(one.study_instance_uid for one in rows).values())
    if several:
        studies = counted(several, "study has", "studies have")
        said.append(f"{studies} several cases: each is compared by itself")
    if purged:
        cases = counted(purged, "case was", "cases were")
        said.append(f"left out: {cases} purged before the shadow could read")
    failed = sum(one.told.result in (ShadowResult.FAILED, ShadowResult.KILLED) for one in rows)
    if failed:
        cases = counted(failed, "case")
        said.append(f"failed in shadow, and so not analysed: {cases}")
    return said


def _pictures(run: Run, worklist: Worklist, cases: Mapping[str, int]) -> Pictures:
    old: dict[str, str] = {}
    new: dict[str, str] = {}
    for name, number in cases.items():
        before, after = worklist.shadows.pictures(run, number)
        old |= {name: data_url(before)} if before else {}
        new |= {name: data_url(after)} if after else {}
    return old, new


def _pages(settings: Settings, numbers: Mapping[str, int]) -> dict[str, str]:
    """Return where the node's page shows each case."""
    web = settings.web
    node = (
        web.url.rstrip("/") or f"{'https' if web.certificate else 'http'}://{web.host}:{web.port}"
    )
    return {name: f"{node}/studies/{number}" for name, number in numbers.items()}
