"""Head CTs that an archive has and that are not all here, as a table of the terminal."""

from collections.abc import Iterable

from rich.table import Table

from node.announced import Shows
from node.cli.console.terminal import outside
from node.worklist import Gap, Uncovered

_WORDS = {
    Gap.NEVER_SEEN: ("NEVER SEEN", "bold red"),
    Gap.IN_PART: ("in part", ""),
    Gap.ON_ITS_WAY: ("on its way", "dim"),
}


def coverage_table(found: Iterable[Uncovered]) -> Table:
    """Return a table of studies, one a line; it fits 80 columns."""
    table = Table(box=None, pad_edge=False)
    for name in ("what", "performed", "patient,\naccession", "description,\nstudy"):
        table.add_column(name, overflow="fold")
    for name in ("here", "there"):
        table.add_column(name, justify="right")
    table.add_column("source", overflow="fold")
    for one in found:
        word, style = _WORDS[one.gap]
        what = outside(f"{word}{', perhaps a head' if one.shows is Shows.PERHAPS else ''}", style)
        table.add_row(
            what,
            outside(one.performed),
            outside(one.patient_id).append("\n").append(outside(one.accession_number)),
            outside(one.study_description).append("\n").append(outside(one.study_instance_uid)),
            str(one.here),
            "?" if one.there is None else str(one.there),
            outside(one.source),
        )
    return table
