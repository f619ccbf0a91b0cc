"""Draws the charts from the worklist, and notes the alarms that they raise."""

from datetime import datetime

from node.settings import Settings
from node.watch.agreement import BEGINNING, watched
from node.worklist import Worklist


def draw_charts(settings: Settings, worklist: Worklist, now: datetime) -> int:
    """Draw the charts of all scanners, note their alarms, and end those that stand no more.

    Returns
    -------
    int
        How many alarms stand.

    Raises
    ------
    IchnodeError
        If the worklist is out of reach.
    """
    from node.watch.charting import charts  # it brings scipy, for this alone

    studies = watched(worklist.statistics.studies(BEGINNING), worklist.reports.counting())
    decisions = worklist.charts.decisions()
    releases = worklist.releases.listed()
    lines = [one.line() for one in charts(studies, decisions, settings.watch, releases)]
    if worklist.charts.decisions() != decisions:  # a person decided meanwhile
        return draw_charts(settings, worklist, now)
    worklist.charts.draw(lines, now)
    said = {line.alarm: line.said for line in lines if line.said}
    for name in {*said, *worklist.charts.alarms()}:
        worklist.alarms.note(name, said.get(name, ""), now)
    return len(said)
