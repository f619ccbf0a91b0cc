"""Checks of what the node watches itself by: the canary, archives, reports and charts."""

from collections.abc import Iterator
from datetime import timedelta

from node.cli.check import Check
from node.clock import utc_now
from node.errors import IchnodeError
from node.reported import Answer
from node.settings import Settings
from node.worklist import Worklist

REPORTS_OF = timedelta(days=28)
"""Reports that came in it are counted, as `ichnode watch` does."""
SILENT = timedelta(days=3)
"""Without a report for longer, the interface may have stopped. Chosen: longer than a weekend."""
ENOUGH = 20
"""Reports of which a share says something. Chosen."""


def check_watching(settings: Settings) -> Iterator[Check]:
    """Say what the canary and the comparison with archives tell."""
    try:
        with Worklist(settings.url) as worklist:
            canary = worklist.canaries.standing(settings.canary, utc_now())
            coverage = worklist.coverage.standing(settings.coverage, utc_now())
    except IchnodeError:
        return  # as the check of the database says
    if not canary.on:
        yield Check("note", "canary", "none is sent: set canary.every_min")
    elif canary.trouble:
        yield Check("bad" if canary.sound else "note", "canary", canary.trouble)
    else:
        yield Check("ok", "canary", "came back, and was read as before")
    if not settings.coverage.ask:
        yield Check("note", "coverage", "no archive is asked what never came: set coverage.ask")
    elif coverage.warnings:
        yield from (Check("bad", "coverage", warning) for warning in coverage.warnings)
    else:
        yield Check("ok", "coverage", "every head CT that the sources list came")


def check_reports(settings: Settings) -> Iterator[Check]:
    """Say whether radiologists' reports come, and whether they can be used."""
    what, now = "radiologists' reports", utc_now()
    if not settings.watch.reports:
        yield Check("note", what, "none is taken: set watch.reports")
        return
    try:
        with Worklist(settings.url) as worklist:
            found = worklist.reports.counts(now - REPORTS_OF)
    except IchnodeError:
        return  # as the check of the database says
    if found.last_at is None:
        yield Check("note", what, "none came yet: have ORU^R01 sent to the port of receive.adt")
        return
    number, unsaid = found.of_studies, found.answers.get(Answer.CANNOT_TELL, 0)
    said = f"in {REPORTS_OF.days} days {number} of studies here"
    said += f" ({unsaid / number:.0%} cannot tell)" if number else ""
    said += f", {found.apart} of none; the last came {found.last_at:%Y-%m-%d %H:%M} UTC"
    if now - found.last_at > SILENT:
        yield Check("note", what, f"{said}: does the interface still send?")
    elif not number:
        yield Check("note", what, f"{said}: see ichnode watch --apart")
    elif number >= ENOUGH and unsaid > number / 2:
        yield Check("note", what, f"{said}: see watch.language and watch.vocabularies")
    else:
        yield Check("ok", what, said)


def check_charts(settings: Settings) -> Iterator[Check]:
    """Say how the charts of the watch stand."""
    what = "charts of outcomes"
    if not settings.watch.charts:
        yield Check("note", what, "none is drawn: set watch.charts")
        return
    try:
        with Worklist(settings.url) as worklist:
            found, drawn_at = worklist.charts.counts(), worklist.charts.drawn_at()
    except IchnodeError:
        return  # as the check of the database says
    if drawn_at is None:
        yield Check("note", what, "none was drawn yet: the job charts does so each hour")
        return
    said = f"{found.alarmed} with an alarm, {found.calm} without, {found.learning} learn what is "
    said += f"usual; drawn {drawn_at:%Y-%m-%d %H:%M} UTC"
    if found.alarmed:
        yield Check("note", what, f"{said}: see ichnode watch --charts")
    else:
        yield Check("ok", what, said)
