"""The two proofs that are compared: whether they can be, and what each was read by."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hmac import compare_digest

from node.archive.adjudication import Decisions, read_decisions
from node.archive.evidence import Joined, Outcome, Study, read_joined
from node.archive.proof import Proof
from node.errors import BadConfiguration

Point = tuple[str, float | None]
"""An operating point's name, and the threshold that it is."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: the outcomes that it has.

    Attributes
    ----------
    name
        Of its folder.
    """

    name: str
    outcomes: Mapping[str, Outcome]

    def bundles(self) -> Mapping[str, int]:
        """Return how many studies each bundle read, most first."""
        told = Counter(
            f"{one.bundle}@{one.bundle_version}" if one.bundle_version else one.bundle
            for one in self.outcomes.values()
            if one.bundle
        )
        return dict(told.most_common())

    def points(self) -> Mapping[Point, int]:
        """Return how many studies were analysed at each operating point, most first."""
        told = Counter(
            (one.operating_point, one.threshold) for one in self.outcomes.values() if one.analysed
        )
        return dict(told.most_common())


@dataclass(frozen=True, slots=True)
class Sides:
    """Both, and what is known of the studies that both have read.

    Attributes
    ----------
    studies
        With the old outcome and the report's label.
    decisions
        What people decided in either proof.
    only_old, only_new
        Studies of which the other has no outcome, by their pseudonyms.
    settled_by
        How people would settle those that flip, as the end of a sentence.
    """

    old: Side
    new: Side
    studies: tuple[Study, ...]
    decisions: Decisions
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    remarks: tuple[str, ...]
    settled_by: str = "adjudicating both OLD and NEW asks about each of them"


def read_sides(old: Proof, new: Proof) -> Sides:
    """Return two proofs that can be compared.

    Raises
    ------
    BadConfiguration
        If their keys differ, they share no study, or both were read by one bundle at one operating
        point.
    Permanent
        If a file cannot be read, or one has no outcome.
    """
    if not compare_digest(old.pseudonyms().key, new.pseudonyms().key):
        raise BadConfiguration(
            f"{old.root} and {new.root} have different keys, so no study of the one is known in "
            "the other: make the second by `ichnode archive again OLD NEW`, and read it"
        )
    first, second = read_joined(old), read_joined(new)
    sides = _together(first, second, old, new)
    if not sides.studies:
        raise BadConfiguration(
            f"{old.root} and {new.root} have no study in common: each was read, but not the same"
        )
    alike = set(sides.old.bundles()) == set(sides.new.bundles())
    if alike and set(sides.old.points()) == set(sides.new.points()):
        by = ", ".join(sides.old.bundles()) or "a bundle that is not told"
        raise BadConfiguration(
            f"{old.root} and {new.root} were both read by {by} at the same operating point: there "
            "is nothing to compare; set the new bundle in the configuration, and read NEW with it"
        )
    return sides


def _together(first: Joined, second: Joined, old: Proof, new: Proof) -> Sides:
    after = {study.name: study for study in second.studies}
    before = {study.name for study in first.studies}
    labels = first if first.labels else second
    by_name = {study.name: study.label for study in labels.studies}
    decisions = _decisions(old, new)
    remarks = [*labels.remarks]
    if decisions.unreadable:
        remarks.append(f"{len(decisions.unreadable)} lines of decisions.jsonl cannot be read")
    return Sides(
        old=Side(old.root.resolve().name, {each.name: each.outcome for each in first.studies}),
        new=Side(new.root.resolve().name, {name: each.outcome for name, each in after.items()}),
        studies=tuple(
            replace(study, label=by_name.get(study.name))
            for study in first.studies
            if study.name in after
        ),
        decisions=decisions,
        only_old=tuple(sorted(before - set(after))),
        only_new=tuple(sorted(set(after) - before)),
        remarks=tuple(remarks),
    )


def _decisions(old: Proof, new: Proof) -> Decisions:
    """Return what people decided in either, in the order of time; a line that both have is one."""
    both = [read_decisions(proof.decisions) for proof in (old, new)]
    lines = {line.id: line for each in both for line in each.lines}
    in_order = sorted(lines.values(), key=lambda line: line.at)
    return Decisions(tuple(in_order), tuple(n for each in both for n in each.unreadable))
