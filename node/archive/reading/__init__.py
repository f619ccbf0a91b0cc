"""Reads the studies of an archive with the node's own stages, by many workers."""

from node.archive.reading.catalogue import Plan, Progress, read_catalogue
from node.archive.reading.study import Material, Read, Reading, reader

__all__ = ["Material", "Plan", "Progress", "Read", "Reading", "read_catalogue", "reader"]
