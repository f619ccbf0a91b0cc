"""A node whose whole worklist a test can look at."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from node.cases.pipeline import Node
from node.dicom.read.pixels import Decoder, load_volume
from node.settings import Settings
from node.worklist import Worklist


@dataclass(frozen=True, slots=True)
class WatchedNode(Node):
    """A node for stages, and the worklist it works on."""

    worklist: Worklist = None  # type: ignore[assignment]

    @classmethod
    def on(
        cls,
        worklist: Worklist,
        settings: Settings,
        detector: Callable[[], Any],
        clock: Callable[[], datetime],
        decode: Decoder = load_volume,
    ) -> Self:
        """Return a node that works on this worklist."""
        handles = (worklist.arrivals, worklist.cases, worklist.outbox, worklist.views)
        return cls(settings, *handles, detector, clock, decode, worklist=worklist)
