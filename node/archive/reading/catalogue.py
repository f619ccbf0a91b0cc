"""Reads all studies of a catalogue that have no outcome yet."""

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from node.archive.finding import Gentle
from node.archive.proof import Proof
from node.archive.reading.cluster import ray_at
from node.archive.reading.moving import MoveTo
from node.archive.reading.orders import Order, orders_of
from node.archive.reading.outcomes import Outcomes, outcome
from node.archive.reading.result import Reading
from node.archive.reading.retrieval import Retrieval, opener
from node.archive.reading.stream import Stream
from node.archive.reading.study import Material, reader
from node.archive.reading.workers import Make, crew_of
from node.clock import utc_now
from node.disk import make_private, sync_file
from node.errors import BadConfiguration, IchnodeError, Retryable
from node.settings import Settings, source


@dataclass(frozen=True, slots=True)
class Plan:
    """How an archive is read.

    Attributes
    ----------
    address
        Of a Ray cluster; "" starts one on this machine.
    workers
        How many; 0 is one a machine.
    gpus
        The share of a GPU that each has.
    pictures
        Whether pictures are kept.
    gentle
        How a server is asked.
    move_to
        Where a server sends by C-MOVE.
    failed
        Whether what failed before, or killed its worker, is read again.
    """

    address: str
    workers: int
    gpus: float
    pictures: bool
    gentle: Gentle
    move_to: MoveTo | None = None
    failed: bool = False


@dataclass(slots=True)
class Progress:
    """How far a reading is; the results are of this call alone."""

    total: int
    before: int
    workers: int
    done: int
    results: Counter[str]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON prints it."""
        return {
            "total": self.total,
            "before": self.before,
            "read": self.done,
            "results": dict(self.results),
        }


def read_catalogue(
    proof: Proof,
    settings: Settings,
    plan: Plan,
    tell: Callable[[str], None] = lambda _: None,
    make: Make | None = None,
) -> Generator[Progress, None, None]:
    """Read the studies of a proof's catalogue that have no outcome; yield how far it is.

    Parameters
    ----------
    tell
        Is called with a line where there is a wait.
    make
        Makes what reads a study; None reads with the networks of the settings.

    Raises
    ------
    IchnodeError
        If no study is taken, a server does not answer, the networks cannot be loaded, or Ray is
        gone. What was read stays; the message says how far it came.
    """
    names = proof.pseudonyms()
    with closing(Outcomes(proof)) as outcomes, closing(Sources(settings, plan, tell)) as sources:
        if plan.failed:
            outcomes.forget({"FAILED", "KILLED"})
        todo = orders_of(proof, outcomes.done)
        for name in {order.source for order in todo if not order.paths}:
            sources.require(name)
        progress = Progress(len(todo), len(outcomes.done), 0, 0, Counter())
        if not todo and not outcomes.done:
            raise BadConfiguration(
                f"{proof.catalogue} has no study that is taken; its column `why` says why, and "
                "ichnode archive find searches other sources and days"
            )
        if not todo:
            yield progress
            return

        def take(order: Order, reading: Reading) -> None:
            if reading.picture is not None:
                _keep(reading.picture, proof.image(order.study))
            outcomes.add(outcome(order, reading, names, utc_now()))
            progress.results[reading.result] += 1

        make = make or partial(reader, settings, pictures=plan.pictures)
        with ray_at(plan.address) as ray, _told(progress):
            crew = crew_of(ray, plan.workers, plan.gpus)
            progress.workers = crew.workers
            for progress.done in Stream(ray, crew, make, sources.get, plan.gentle.stop, take).run(
                todo
            ):
                yield progress


@contextmanager
def _told(progress: Progress) -> Iterator[None]:
    """Say in an error how far the reading came."""
    from ray.exceptions import RayError

    try:
        yield
    except (IchnodeError, RayError) as error:
        kind = type(error) if isinstance(error, IchnodeError) else Retryable
        said = str(error) if isinstance(error, IchnodeError) else f"Ray: {type(error).__name__}"
        raise kind(
            f"{said}; {sum(progress.results.values())} of {progress.total} studies are read, and "
            "the same command goes on"
        ) from error


class Sources:
    """Where the files of studies come from: their paths, or one server at a time."""

    def __init__(self, settings: Settings, plan: Plan, tell: Callable[[str], None]) -> None:
        self._settings, self._plan, self._tell = settings, plan, tell
        self._retrievals: dict[str, Retrieval] = {}

    def require(self, name: str) -> None:
        """Raise `BadConfiguration` unless the settings say how a server is reached."""
        peer = source(name, self._settings)
        opened = opener(peer, self._settings, self._plan.move_to)
        self._retrievals[name] = Retrieval(peer, opened, self._plan.gentle, self._tell)

    def get(self, order: Order) -> Material:
        """Return a study's files; raises as `Retrieval.get`."""
        if order.paths:
            return Material(order.study_instance_uid, order.paths)
        for name, other in self._retrievals.items():
            if name != order.source:
                other.close()
        return self._retrievals[order.source].get(order.study_instance_uid)

    def close(self) -> None:
        """End the associations."""
        for retrieval in self._retrievals.values():
            retrieval.close()


def _keep(picture: bytes, path: Path) -> None:
    """Leave a whole picture, before the row that speaks of it."""
    make_private(path.parent, "PROOF")
    partial_file = path.with_name(f"_{path.name}.partial")
    partial_file.write_bytes(picture)
    sync_file(partial_file)
    partial_file.rename(path)
