"""Reads the studies of an archive with the node's own stages, by many workers."""

from node.archive.reading.catalogue import Plan, Progress, read_catalogue
from node.archive.reading.moving import MoveTo, move_to
from node.archive.reading.study import Material, Read, Reading, reader

__all__ = [
    "Material",
    "MoveTo",
    "Plan",
    "Progress",
    "Read",
    "Reading",
    "move_to",
    "read_catalogue",
    "reader",
]
