"""The worklist that all open pages share: held in memory, and kept up to date by one look.

Each study carries a tag that changes when anything about it does, so that a page asks for the rows
alone that it lacks.
"""

import itertools
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from node.states import Priority
from node.worklist import Listed, Listing, Mark, Row, in_order

RANGES = {
    "8h": timedelta(hours=8),
    "24h": timedelta(hours=24),
    "3d": timedelta(days=3),
    "7d": timedelta(days=7),
}
"""Time ranges to choose from, by the last slice. What is not done with is in each of them."""
DAY = "24h"
HELD = RANGES["7d"]
PAGE = 50
"""Rows of a page."""
LOOKED_AT_AGAIN = 25
"""Studies that each look reads anew though nothing is known to have changed. So a change that the
database does not tell of is seen within minutes."""

SHARED_S = 5
"""How long an answer holds though nothing changed: the order changes with time, by hours."""
ANSWERS = 50
"""Answers that are kept: as many as there are views of the list in use."""

UNCERTAIN = "UNCERTAIN"
KINDS = (*(p.value for p in Priority), UNCERTAIN)
"""What rows can be filtered by: priority, and a negative that is uncertain."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a page asks for.

    Attributes
    ----------
    within
        One of `RANGES`.
    kinds
        Some of `KINDS`; empty: all.
    priors
        Whether prior studies are unfolded.
    text
        Part of a patient ID, accession number or description; it goes by request bodies alone.
    page
        From 0.
    """

    within: str = DAY
    kinds: frozenset[str] = frozenset()
    priors: bool = False
    text: str = ""
    page: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """A study in the list; `tag` is another one after each change."""

    listed: Listed
    tag: str

    @property
    def row(self) -> Row:
        """How the study stands."""
        return self.listed.row


@dataclass(frozen=True, slots=True)
class Selection:
    """One page of the list, and what else there is.

    Attributes
    ----------
    counts
        Current studies of the range, or of a day if it is shorter, by kind; whatever the filter.
    total
        Rows on all pages.
    hidden, loud_hidden
        Those of them that filter and range hide, and how many a person must look at.
    priors, loud_priors
        Prior studies, and how many of them are suspected or not analysed.
    """

    rows: tuple[Held, ...]
    counts: Counter[str]
    total: int
    page: int
    pages: int
    hidden: int
    loud_hidden: int
    priors: int
    loud_priors: int
    version: int
    wanted: Wanted = field(default_factory=Wanted)


def kind(row: Row) -> str:
    """Return which of `KINDS` a row is."""
    return UNCERTAIN if row.uncertain and not _suspected(row) else row.priority.value


def loud(row: Row) -> bool:
    """Return whether a person must look at the row."""
    return row.uncertain or row.priority in (Priority.SUSPECTED, Priority.NOT_ANALYSED)


def _suspected(row: Row) -> bool:
    return row.priority is Priority.SUSPECTED


class LiveList:
    """The studies of the last days and what is not done with; threads share it.

    Attributes
    ----------
    version
        Grows with each change of a row.
    looked_at
        When the database was last seen, by the monotonic clock.
    """

    def __init__(self, listing: Listing, clock: Callable[[], datetime]) -> None:
        self._listing = listing
        self._clock = clock
        self._lock, self._selecting = threading.Lock(), threading.Lock()
        self._selected: dict[tuple[Wanted, int, int], Selection] = {}
        self._held: dict[str, Held] = {}
        self._mark: Mark | None = None
        self._boot = secrets.token_hex(4)
        self._tags = itertools.count(1)
        self._again: Iterator[str] = iter(())
        self.version = 0
        self.looked_at = float("-inf")

    @property
    def age_s(self) -> float:
        """Seconds since the database was last seen."""
        return time.monotonic() - self.looked_at

    def look(self, *, again: int = 0) -> None:
        """Take in what changed.

        Parameters
        ----------
        again
            So many studies are read anew whatever the database says.

        Raises
        ------
        IchnodeError
            If the database cannot be read; the list stays as it was.
        """
        asked = time.monotonic()
        with self._lock:
            if self.looked_at > asked and not again:
                return  # another one looked while this one waited
            began = time.monotonic()
            if self._mark is None:
                found, self._mark = self._listing.recent(self._clock() - HELD)
            else:
                changed, mark = self._listing.changed(self._mark)
                found = self._listing.studies(changed | self._some(again))
                self._mark = mark
            self._take(found)
            self.looked_at = began

    def _some(self, count: int) -> set[str]:
        """Return the next studies of those that are held, in turn."""
        some = set(itertools.islice(self._again, count))
        if len(some) < count:
            self._forget()
            self._again = iter(tuple(self._held))
        return some

    def _forget(self) -> None:
        """Drop what is older than any range and done with."""
        since = self._clock() - HELD
        self._held = {uid: held for uid, held in self._held.items() if _within(held, since)}

    def _take(self, found: Iterable[Listed]) -> None:
        for listed in found:
            uid = listed.row.study_instance_uid
            if uid not in self._held or self._held[uid].listed != listed:
                self._held[uid] = Held(listed, f"{self._boot}-{next(self._tags)}")
                self.version += 1

    def select(self, wanted: Wanted) -> Selection:
        """Return the page that is asked for, in worklist order.

        Pages that ask for the same within a few seconds share one answer.
        """
        now = self._clock()
        asked = wanted, self.version, int(now.timestamp() // SHARED_S)
        with self._selecting:
            if asked not in self._selected:
                if len(self._selected) >= ANSWERS:
                    self._selected.clear()
                self._selected[asked] = self._select(wanted, now)
            return self._selected[asked]

    def _select(self, wanted: Wanted, now: datetime) -> Selection:
        version = self.version  # of what is read from here on, or older
        asked, told = (now - RANGES[name] for name in (wanted.within, _longer(wanted.within)))
        held = self._held | (self._named(wanted.text) if wanted.text else {})
        known = {uid: one for uid, one in held.items() if wanted.text or _within(one, told)}
        ordered = [known[row.study_instance_uid] for row in in_order(_rows(known.values()), now)]
        current = [one for one in ordered if not one.row.prior]
        prior = [one for one in ordered if one.row.prior]

        def matching(some: Iterable[Held]) -> list[Held]:
            return [
                one
                for one in some
                if _matches(one, wanted) and (wanted.text or _within(one, asked))
            ]

        unfolded = matching(prior) if wanted.priors else []
        return _page(matching(current), unfolded, current, prior, wanted, version)

    def _named(self, text: str) -> dict[str, Held]:
        """Return studies of that very name that are older than what is held."""
        found = [
            one for one in self._listing.named(text) if one.row.study_instance_uid not in self._held
        ]
        return {
            one.row.study_instance_uid: Held(one, f"{self._boot}-old-{one.number}") for one in found
        }


def _page(
    matching: Sequence[Held],
    unfolded: Sequence[Held],
    current: Sequence[Held],
    prior: Sequence[Held],
    wanted: Wanted,
    version: int,
) -> Selection:
    rows = [*matching, *unfolded]
    pages = max(1, -(-len(rows) // PAGE))
    page = min(wanted.page, pages - 1)
    return Selection(
        rows=tuple(rows[page * PAGE : (page + 1) * PAGE]),
        counts=Counter(kind(one.row) for one in current),
        total=len(rows),
        page=page,
        pages=pages,
        hidden=len(current) - len(matching),
        loud_hidden=_loud(current) - _loud(matching),
        priors=len(prior),
        loud_priors=_loud(prior),
        version=version,
        wanted=wanted,
    )


def _longer(within: str) -> str:
    """Return the range itself, or a day if it is shorter: what it hides of a day is told."""
    return max(within, DAY, key=RANGES.__getitem__)


def _rows(held: Iterable[Held]) -> list[Row]:
    return [one.row for one in held]


def _loud(held: Iterable[Held]) -> int:
    return sum(loud(one.row) for one in held)


def _within(held: Held, since: datetime) -> bool:
    return held.listed.unfinished or held.listed.last_received_at >= since


def _matches(held: Held, wanted: Wanted) -> bool:
    row = held.row
    if wanted.kinds and kind(row) not in wanted.kinds:
        return False
    said = f"{row.patient_id}\n{row.accession_number}\n{row.study_description}"
    return wanted.text.casefold() in said.casefold()
