"""What a reader of the report must know beside its figures, in sentences."""

from node.archive.acceptance.reference import REPORT, Reference
from node.archive.adjudication import Decisions, Sample
from node.wording import counted

SAME = 1e-9
"""By which two shares that were computed alike may differ."""


def remarks(known: Reference, decisions: Decisions, sample: Sample | None) -> list[str]:
    """Return what is left out, open, or may have changed since."""
    told = [
        f"left out, since nobody knows the truth: {counted(each.studies, 'study')} ({each.cell})"
        for each in known.cells
        if not each.by
    ]
    told += [
        f"by the report, since nobody has settled any yet: "
        f"{counted(each.studies, 'study')} ({each.cell})"
        for each in known.cells
        if known.by_people and each.by == REPORT
    ]
    if sample is None and known.by_people:
        told.append("there is no sample.json: which studies people were asked about is not known")
    analysed = sum(each.studies for each in known.cells)
    if sample and sample.frame != analysed:
        told.append(
            f"{counted(analysed, 'study is', 'studies are')} analysed now, and {sample.frame} when "
            "the sample for adjudication was drawn: it stands for the present ones as far as they "
            "are alike"
        )
    elif sample and known.by_people and not _fits(known, sample):
        told.append(
            "labels or answers of the node have changed since the sample for adjudication was "
            "drawn: it is no random sample of the present cells, and the figures weigh it as one. "
            "Take sample.json and decisions.jsonl away, both, to have people asked anew"
        )
    outside = sum(each.outside for each in known.members)
    if outside:
        told.append(
            f"people settled {counted(outside, 'study')} outside of the sample: the lists show "
            "them, and no figure takes them, since nobody knows with which probability they came "
            "to be looked at"
        )
    open_ = [each for each in known.members if each.answers and each.settled is None]
    if open_:
        told.append(f"people looked at {counted(len(open_), 'study')} and cannot tell, or disagree")
    if decisions.unreadable:
        lines = ", ".join(map(str, decisions.unreadable))
        told.append(f"decisions.jsonl: line {lines} cannot be read and does not count")
    return told


def _fits(known: Reference, sample: Sample) -> bool:
    """Return whether the sample is one that the present cells could give, by numbers."""
    chance = {each.study: each.probability for each in sample.asked}
    for told in known.cells:
        held = [
            chance[each.study.name]
            for each in known.members
            if each.cell == told.cell and each.study.name in chance
        ]
        if not held or max(held) - min(held) > SAME:
            return False
        if abs(held[0] * told.studies - len(held)) > SAME * told.studies:
            return False
    return True
