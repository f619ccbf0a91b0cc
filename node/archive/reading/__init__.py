"""Reads the studies of an archive with the node's own stages, by many workers."""

from node.archive.reading.catalogue import Plan, Progress, Sources, read_catalogue
from node.archive.reading.moving import MoveTo, move_to
from node.archive.reading.orders import Order, orders_of
from node.archive.reading.result import Reading
from node.archive.reading.study import File, Filed, Material, Read, filer, reader

__all__ = [
    "File",
    "Filed",
    "Material",
    "MoveTo",
    "Order",
    "Plan",
    "Progress",
    "Read",
    "Reading",
    "Sources",
    "filer",
    "move_to",
    "orders_of",
    "read_catalogue",
    "reader",
]
