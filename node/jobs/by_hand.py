"""A person purges studies, or asks what would go."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from node.jobs.tidying import Tidying
from node.settings import Settings
from node.worklist import Actor, Worklist

WHY = "by hand"


def purge_by_hand(
    settings: Settings,
    worklist: Worklist,
    studies: Sequence[str],
    now: datetime,
    *,
    results: bool,
    yes: bool,
) -> Iterator[str]:
    """Yield a line for each study, what goes or why it stays, and one for all of them.

    Parameters
    ----------
    yes
        Whether to purge; else it is only said what would go.
    """
    tidying = Tidying(settings, worklist.retention, lambda: now)
    by = Actor.at_terminal()
    unacknowledged = timedelta(days=settings.retention.unacknowledged_days)
    gone = size = 0
    for uid in studies:
        found = worklist.retention.kept(
            uid, results=results, unacknowledged=unacknowledged, now=now
        )
        why = found.why
        if not why and yes:
            one = worklist.retention.decide(
                uid, by, WHY, now, results=results, unacknowledged=unacknowledged
            )
            if one is None:
                why = "something of it changed just now"
            else:
                tidying.remove(one)
        if why:
            yield f"stays: {uid}: {why}"
            continue
        gone, size = gone + 1, size + found.size
        what = f"{found.objects} objects, {found.size / 1e6:.1f} MB"
        what += " and its results" if results else ""
        yield f"{'purged' if yes else 'would go'}: {uid}: {what}"
    said = f"{gone} of {len(studies)} studies, {size / 1e6:.1f} MB"
    yield f"purged {said}" if yes else f"{said} would go; --yes removes them"
