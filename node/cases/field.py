"""All series of a study, as the choice among them sees it from one of its cases. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from node.cases.choice import rank
from node.cases.completeness import announces_images, closing
from node.cases.eligibility import CURABLE, Verdict, judge
from node.cases.parts import parts
from node.cases.scans import same_scan, scan_of
from node.outcomes import Skipped, Waiting
from node.records import Case, Closing, Preferred, Scan, Series
from node.settings import Assemble
from node.states import Priority, Reason, State

NO_SCAN = frozenset(
    {
        *(Reason.NOT_CT, Reason.LOCALISER, Reason.DERIVED, Reason.NOT_AXIAL, Reason.NOT_A_HEAD),
        *(Reason.CONTRAST, Reason.TOO_FEW_SLICES),
    }
)
"""Reasons of series that are passed over when another one is read: none of them is a scan of the
head that has to be read too. A series refused for any other reason is a scan that nobody saw."""
LOOK_AGAIN_S = 0.5
"""How soon images are counted again where the headers announce their number. It must be below
`assemble.grace_s`, so that counting delays no decision."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One series of the study, as the choice sees it.

    Attributes
    ----------
    closed
        No further image is expected.
    arriving
        Images may still come in: its association is open, the last image came within the grace, or
        its sender's rhythm is waited for.
    case
        Its newest case.
    """

    verdict: Verdict
    closing: Closing
    closed: bool
    arriving: bool
    case: Case | None

    @property
    def uid(self) -> str:
        """Its SeriesInstanceUID."""
        return self.verdict.series.series_instance_uid

    @property
    def key(self) -> tuple[str, int]:
        """Its SeriesInstanceUID, and which part of the series it is."""
        return self.uid, self.verdict.series.part.number

    @property
    def hopeless(self) -> bool:
        """Whether no further image can make the series readable."""
        return self.verdict.refusal is not None and self.verdict.refusal.reason not in CURABLE

    @property
    def unreadable(self) -> bool:
        """Whether the headers allowed to read the series, and the pixels or the node did not."""
        case = self.case
        if case is None or self.passed_over:
            return False
        return case.state is State.FAILED or case.priority is Priority.NOT_ANALYSED

    @property
    def passed_over(self) -> bool:
        """Whether another series was read in its place."""
        return self.case is not None and self.case.state is State.SKIPPED


@dataclass(frozen=True, slots=True)
class Field:
    """All series of a study, seen from one of its cases."""

    mine: Entry
    others: tuple[Entry, ...]
    settings: Assemble
    now: datetime
    prior: tuple[str, ...]
    """The sentence that tells a prior study from a current one, or none."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Mine and the others."""
        return (self.mine, *self.others)

    @property
    def is_no_scan(self) -> bool:
        """Whether my series shows no scan of its own that would have to be read."""
        refusal = self.mine.verdict.refusal
        return refusal is not None and refusal.reason in NO_SCAN

    @property
    def rivals(self) -> tuple[Entry, ...]:
        """The other series that can be read in place of mine: those of its scan."""
        if self.is_no_scan:
            return self.others
        return tuple(e for e in self.others if same_scan(self.mine.verdict, e.verdict))

    @property
    def readable(self) -> list[Entry]:
        """The complete series of my scan that can be read and have not been tried, best first."""
        mine = self.mine
        found = [e for e in (mine, *self.rivals) if e.closed and e.verdict.refusal is None]
        return sorted(
            (e for e in found if e is mine or not (e.unreadable or e.passed_over)),
            key=lambda e: rank(e.verdict),
        )

    @property
    def scan(self) -> Scan | None:
        """The scan that my series shows, None if it shows none."""
        verdicts = [e.verdict for e in self.entries if e.verdict.stack]
        return None if self.is_no_scan else scan_of(self.mine.verdict, verdicts)

    @property
    def closes_at(self) -> datetime:
        """When the study counts as complete without any evidence."""
        last = max(e.verdict.series.last_received_at for e in self.entries)
        return last + timedelta(seconds=self.settings.idle_s)

    def wait(self, why: str) -> tuple[Waiting, None]:
        """Wait until the next series closes, or a shorter time where images are counted."""
        grace = timedelta(seconds=self.settings.grace_s)
        moments = [e.verdict.series.last_received_at + grace for e in self.entries]
        moments += [*(e.closing.at for e in self.entries), self.closes_at]
        if any(announces_images(e.verdict.series) for e in self.entries if e.arriving):
            moments.append(self.now + timedelta(seconds=LOOK_AGAIN_S))
        retry_at = min(t for t in moments if t > self.now)
        return Waiting(why, retry_at, prior=bool(self.prior)), None

    def skip(
        self, reason: Reason, message: str, preferred: Preferred | None = None
    ) -> tuple[Skipped, None]:
        """Pass this series over."""
        prior = bool(self.prior)
        closing = None if self.mine.hopeless else self.mine.closing
        return Skipped(reason, message, prior, closing, preferred, self.scan), None


def field_of(
    case: Case,
    study: Sequence[Series],
    cases: Sequence[Case],
    settings: Assemble,
    now: datetime,
) -> Field | None:
    """Return the study as it is seen from a case; None if the part that it reads is no more."""
    newest = {(c.series_instance_uid, c.part): c for c in sorted(cases, key=lambda c: c.id)}
    grace = timedelta(seconds=settings.grace_s)
    entries = []
    for series in (part for whole in study for part in parts(whole, settings)):
        verdict = judge(series, settings)
        known = newest.get((series.series_instance_uid, series.part.number))
        ends = closing(verdict, settings, reported=_reported(known, cases))
        silent = series.released_at is not None and now >= series.last_received_at + grace
        closed = now >= ends.at
        # Evidence closes it in a moment: the sender's rhythm is waited for.
        soon = ends.saved_s > 0
        entries.append(Entry(verdict, ends, closed, not closed and (soon or not silent), known))
    mine = next((e for e in entries if e.key == (case.series_instance_uid, case.part)), None)
    if mine is None:
        return None
    others = tuple(e for e in entries if e is not mine)
    return Field(mine, others, settings, now, _prior(mine.verdict.series, settings))


def _reported(case: Case | None, cases: Iterable[Case]) -> bool:
    """Return whether a result of the series left before its late slices came."""
    if case is None or case.supersedes is None:
        return False
    nothing = (State.RECEIVING, State.SKIPPED, State.FAILED)
    return all(old.state not in nothing for old in cases if old.id == case.supersedes)


def _prior(series: Series, settings: Assemble) -> tuple[str, ...]:
    """Return the sentence that tells a prior study from a current one; empty for a current one.

    Days are counted by this machine's calendar: few scanners name their time zone. A series without
    a date is current.
    """
    days = [day for i in series.instances if (day := _day(i.header.acquired))]
    if not days or settings.prior_after_days == 0:
        return ()
    age = (series.first_received_at.astimezone().date() - max(days)).days
    if age <= settings.prior_after_days:
        return ()
    return (f"acquired on {max(days)}, {age} days before it arrived: a prior study",)


def _day(acquired: str) -> date | None:
    try:
        return date.fromisoformat(acquired[:8])
    except ValueError:
        return None
