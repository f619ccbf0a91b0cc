"""Which bundle reads, and which one is to read in its shadow."""

from dataclasses import dataclass
from datetime import datetime

from node.cases.detector import bundle_at, with_bundle
from node.errors import BadConfiguration
from node.settings import Settings
from node.worklist import Bundle, Release, Run


class IsLive(BadConfiguration):
    """What is to read in shadow reads live, as after a promotion: there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The live bundle, and the other one.

    Attributes
    ----------
    settings
        With which the other one reads: those of the live one, but for the bundle.
    """

    live: Bundle
    other: Bundle
    settings: Settings


def live_bundle(settings: Settings, release: Release | None) -> Bundle:
    """Return the bundle that is in force, though it may be gone from its folder.

    Raises
    ------
    BadConfiguration
        If the settings name it, and there is none.
    """
    if release is not None and not release.by_settings:
        return release.bundle
    return bundle_at(settings.triage.bundle)


def pair_of(settings: Settings, release: Release | None) -> Pair:
    """Return the live bundle and the one of `[shadow]`.

    Raises
    ------
    IsLive
        If they are one.
    BadConfiguration
        If none is named, one is no bundle, or nobody could tell the two apart.
    """
    shadow = settings.shadow
    if not shadow.bundle:
        raise BadConfiguration("no bundle is named that is to read: set shadow.bundle")
    live = live_bundle(settings, release)
    other = bundle_at(shadow.folder)
    if other.digest == live.digest:
        raise IsLive(f"shadow.bundle: {other} is the live bundle: name another one")
    if str(other) == str(live):
        raise BadConfiguration(
            f"shadow.bundle: {shadow.folder} is called {other}, as the live bundle, and is another "
            "one: nobody could tell their results apart; give it a version of its own"
        )
    return Pair(live, other, with_bundle(settings, shadow.folder))


def read_since(run: Run, release: Release | None) -> datetime:
    """Return since when cases are read by the live bundle of a run, and so are compared."""
    return run.began_at if release is None else max(run.began_at, release.at)
