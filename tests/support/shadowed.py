"""A node with another bundle in its shadow, which a test lets read as long as it wants to."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from models.findings import Findings
from models.volume import Volume
from node.settings import Settings
from node.shadow.loop import read_in_shadow
from node.shadow.standing import Standing, standing
from node.worklist import Compared, ShadowResult, Worklist
from tests.support.builder import HEAD, Scan
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor


class Calm(Predictor):
    """Finds nothing."""

    name = "fake@2"

    def state_findings(self, volume: Volume, *_: object) -> Findings:
        return super().state_findings(replace(volume, hu=volume.hu * 0))


@dataclass
class Shadowed:
    """A node, its clock, and what it is set to."""

    node: WatchedNode
    clock: Clock
    settings: Settings

    @staticmethod
    def head(number: int) -> Scan:
        """Return the head with blood as that of another patient."""
        return HEAD(name=f"head {number}", study=f"study {number}", patient=f"P{number}")

    @property
    def worklist(self) -> Worklist:
        return self.node.worklist

    def read(self, until: Callable[[], bool] = lambda: False) -> None:
        """Let the shadow read until it has nothing to do, or something is so."""
        idle = _Idle(until)
        read_in_shadow(self.settings, self.worklist, self.clock, idle)

    def begin(self) -> None:
        """Let the shadow begin, before anything is reported."""
        self.read()

    def standing(self) -> Standing:
        return standing(self.settings, self.worklist, self.clock())

    def compared(self) -> list[Compared]:
        found = self.standing()
        assert found.other and found.live
        run = self.worklist.shadows.run(found.other, found.live)
        assert run is not None
        return self.worklist.shadows.compared(run)

    def results(self) -> list[ShadowResult]:
        return [one.told.result for one in self.compared()]


class _Idle(threading.Event):
    """It is set as soon as somebody waits for it: there is nothing to do."""

    def __init__(self, until: Callable[[], bool]) -> None:
        super().__init__()
        self._until = until

    def is_set(self) -> bool:
        return super().is_set() or self._until()

    def wait(self, timeout: float | None = None) -> bool:
        del timeout
        self.set()
        return True
