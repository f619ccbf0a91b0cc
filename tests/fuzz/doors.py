"""The doors: each gives bytes to the node's real code.

A door returns if the node took the input, or refused it by one of its documented errors. Whatever
else it raises is a finding. So are a door's own assertions: a result that the node must not make of
any input.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

from tests.fuzz import files, network
from tests.fuzz.behind import Door

DOORS: dict[str, Callable[[], AbstractContextManager[Door]]] = {
    door.__name__: door
    for door in (
        *(network.pdus, network.association, files.header, files.archive, files.pixels),
        *(files.volume, files.report, network.attributes, network.adt, network.query),
        *(network.commitment, network.mllp, network.acknowledgement, network.webhook),
        *(network.mail, network.stow, network.web, files.medium, files.settings),
    )
}
"""Context managers that open a door, by name."""
