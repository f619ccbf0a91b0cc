"""Finds the head CTs of an archive without their pixels, and catalogues them."""

from node.archive.finding.folder import Days, joined, search_folder
from node.archive.finding.gentle import Gentle, Hours, hours
from node.archive.finding.series import scanner
from node.archive.finding.server import search_server
from node.archive.finding.store import Store, Tally
from node.archive.finding.words import age_band, iso_day, place

__all__ = [
    "Days",
    "Gentle",
    "Hours",
    "Store",
    "Tally",
    "age_band",
    "hours",
    "iso_day",
    "joined",
    "place",
    "scanner",
    "search_folder",
    "search_server",
]
