"""How far the shadow is, and what would change with its bundle. It names no patient."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from statistics import median
from typing import Any

from node.errors import BadConfiguration
from node.settings import Settings
from node.shadow.pair import IsLive, live_bundle, pair_of
from node.wording import RESEARCH_USE_ONLY, Flip, flip
from node.worklist import (
    Bundle,
    Compared,
    Release,
    Run,
    ShadowResult,
    Worklist,
    standing_promotion,
)


@dataclass(frozen=True, slots=True)
class Standing:
    """How the shadow stands.

    Attributes
    ----------
    live
        What reads now; None if the settings name no bundle.
    other
        What reads in shadow, or would; None if it cannot.
    is_live
        Whether what the settings name for the shadow reads live, as after a promotion.
    trouble
        Why nothing can be read in shadow, in a sentence; "" if it can.
    read, wanted
        Of how many studies the other bundle has had its chance, and of how many it should.
    analysed
        Cases of which both say whether there is a bleed; of those `agree` say the same.
    results
        How many readings of the shadow ended in each way.
    seconds
        The median of a reading, of the live bundle and of the other; None where none is known.
    waiting
        How many live cases go before the shadow now.
    decided
        What people promoted and rolled back, the oldest first.
    """

    on: bool
    live: Bundle | None
    other: Bundle | None
    trouble: str
    wanted: int
    is_live: bool = False
    read: int = 0
    began_at: datetime | None = None
    analysed: int = 0
    agree: int = 0
    flips: Mapping[Flip, int] = field(default_factory=dict)
    results: Mapping[ShadowResult, int] = field(default_factory=dict)
    seconds: tuple[float | None, float | None] = (None, None)
    waiting: int = 0
    decided: tuple[Release, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether the other bundle has read as many studies as were asked for."""
        return self.other is not None and self.read >= self.wanted

    @property
    def promotion(self) -> Release | None:
        """The promotion that stands, which a rollback would take back."""
        return standing_promotion(self.decided)

    def to_json(self) -> dict[str, Any]:
        """Return the object of `ichnode shadow status --json`; a stable interface."""
        return {
            "research_use_only": RESEARCH_USE_ONLY,
            "on": self.on,
            "live": self.live and asdict(self.live),
            "shadow": self.other and asdict(self.other),
            "is_live": self.is_live,
            "trouble": self.trouble,
            "began_at": self.began_at and self.began_at.isoformat(),
            "studies": self.wanted,
            "studies_read": self.read,
            "is_done": self.is_done,
            "both_analysed": self.analysed,
            "agree": self.agree,
            "flips": {each.value: self.flips.get(each, 0) for each in Flip},
            "results": {each.value: self.results.get(each, 0) for each in ShadowResult},
            "seconds": dict(zip(("live", "shadow"), self.seconds, strict=True)),
            "live_cases_waiting": self.waiting,
            "decided": [each.to_json() for each in self.decided],
        }


def standing(settings: Settings, worklist: Worklist, now: datetime) -> Standing:
    """Return how the shadow stands; what keeps it from reading is part of that."""
    decided = tuple(worklist.releases.listed())
    release = decided[-1] if decided else None
    found = Standing(
        on=settings.shadow.on,
        live=_live(settings, release),
        other=None,
        trouble="",
        wanted=settings.shadow.studies,
        waiting=worklist.shadows.waiting(now),
        decided=decided,
    )
    if not settings.shadow.bundle:
        return found
    try:
        pair = pair_of(settings, release)
    except IsLive:
        return replace(found, is_live=True)
    except BadConfiguration as error:
        return replace(found, trouble=str(error))
    run = worklist.shadows.run(pair.other, pair.live)
    counted = {} if run is None else _counted(run, worklist)
    return replace(found, other=pair.other, **counted)


def _live(settings: Settings, release: Release | None) -> Bundle | None:
    try:
        return live_bundle(settings, release)
    except BadConfiguration:
        return None


def _counted(run: Run, worklist: Worklist) -> dict[str, Any]:
    rows = worklist.shadows.compared(run)
    both = [one for one in rows if one.live.analysed and one.told.analysed]
    flips = Counter(kind for one in rows if _had_its_chance(one) and (kind := _flip(one)))
    return {
        "read": worklist.shadows.read(run),
        "began_at": run.began_at,
        "analysed": len(both),
        "agree": sum(one.live.flagged == one.told.flagged for one in both),
        "flips": flips,
        "results": Counter(one.told.result for one in rows),
        "seconds": (
            _median([one.live.seconds for one in rows if one.told.seconds]),
            _median([one.told.seconds for one in rows]),
        ),
    }


def _had_its_chance(one: Compared) -> bool:
    return one.told.result is not ShadowResult.PURGED


def _flip(one: Compared) -> Flip | None:
    return flip(one.live, one.told)


def _median(seconds: Sequence[float | None]) -> float | None:
    known = [each for each in seconds if each is not None]
    return median(known) if known else None
