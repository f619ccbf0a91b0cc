"""What people decide of studies: who is asked of which, what they answered, how they agree.

The door of this room. The page on which they answer is `node.web.adjudication`.
"""

from node.archive.adjudication.agreement import Kappa, kappa
from node.archive.adjudication.decisions import (
    Answer,
    Decision,
    Decisions,
    append,
    read_decisions,
    settled,
)
from node.archive.adjudication.desk import Desk, kappas
from node.archive.adjudication.feeds import write_feeds
from node.archive.adjudication.sample import (
    Asked,
    AskedFor,
    Cell,
    Sample,
    cell_of,
    draw,
    read_sample,
    write_sample,
)

__all__ = [
    "Answer",
    "Asked",
    "AskedFor",
    "Cell",
    "Decision",
    "Decisions",
    "Desk",
    "Kappa",
    "Sample",
    "append",
    "cell_of",
    "draw",
    "kappa",
    "kappas",
    "read_decisions",
    "read_sample",
    "settled",
    "write_feeds",
    "write_sample",
]
