"""A bundle comes into force by a person's will, and goes again: checked first, and noted.

A worker looks before each stage which bundle is in force, and reads with it from the next case on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from node.cases.detector import folder_of, load_detector, with_bundle
from node.errors import BadConfiguration
from node.settings import Settings
from node.shadow.pair import live_bundle, pair_of
from node.worklist import Actor, Bundle, Released, Worklist, standing_promotion


@dataclass(frozen=True, slots=True)
class Done:
    """What reads from the next case on, and what read before.

    Attributes
    ----------
    by_settings
        Whether the settings name what reads, so that they hold again.
    """

    bundle: Bundle
    was: Bundle
    by_settings: bool = False


def promote(
    settings: Settings,
    worklist: Worklist,
    by: Actor,
    why: str,
    clock: Callable[[], datetime],
    *,
    early: bool,
) -> Done:
    """Have the bundle that read in shadow read live, once it is known to work on this machine.

    Parameters
    ----------
    early
        Though it has not read as many studies as `shadow.studies` says.

    Raises
    ------
    BadConfiguration
        If it is missing or damaged, computes something else than at its export, is the live one,
        or has not read enough; the live one stays.
    IllegalMove
        If somebody decided something else meanwhile.
    """
    newest = worklist.releases.newest()
    pair = pair_of(settings, newest)
    run = worklist.shadows.run(pair.other, pair.live)
    read = 0 if run is None else worklist.shadows.read(run)
    wanted = settings.shadow.studies
    if read < wanted and not early:
        raise BadConfiguration(
            f"{pair.other} has read {read} of {wanted} studies in shadow: wait, or say --early and "
            "why"
        )
    load_detector(pair.settings)
    worklist.releases.decide(
        *(Released.PROMOTED, pair.other, pair.live, by, why, clock()), read=read, after=newest
    )
    return Done(pair.other, pair.live)


def roll_back(
    settings: Settings,
    worklist: Worklist,
    by: Actor,
    why: str,
    clock: Callable[[], datetime],
) -> Done:
    """Have the bundle read again that read before the last promotion that stands.

    Where the settings name it, they hold again.

    Raises
    ------
    BadConfiguration
        If none was promoted, or the one before is missing, damaged, or another one by now.
    IllegalMove
        If somebody decided something else meanwhile.
    """
    decided = worklist.releases.listed()
    promotion = standing_promotion(decided)
    if promotion is None:
        raise BadConfiguration("no bundle is promoted: there is nothing to roll back")
    newest, before = decided[-1], promotion.was
    remedy = "put it back, or promote this one"
    folder = folder_of(before, "which read before", remedy)
    load_detector(with_bundle(settings, folder))
    was = live_bundle(settings, newest)
    by_settings = folder.absolute() == settings.triage.bundle.absolute()
    worklist.releases.decide(
        *(Released.ROLLED_BACK, before, was, by, why, clock()),
        by_settings=by_settings,
        after=newest,
    )
    return Done(before, was, by_settings)
