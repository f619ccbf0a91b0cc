"""Studies flow from retrieval to the workers, no more of them at a time than are soon read.

What a worker's death costs is the study that it read: it is read once more, and if its worker dies
again, that is its result. A study whose worker died is not read beside another such study, so that
one which takes its machine's memory is told from those that it took along.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from node.archive.reading.orders import Order
from node.archive.reading.result import Reading
from node.archive.reading.study import Material
from node.archive.reading.workers import Crew, Make
from node.errors import IchnodeError, Outage, Permanent

AHEAD = 2
"""So many studies a worker are retrieved and not yet read: one to go on with, one on its way."""
MOST_KILLS = 2
MOST_FAILED_STARTS = 3
"""So many workers in a row may end while they load the networks; chosen."""
KILLED = Reading("KILLED", "killed its worker")
POLL_S = 0.2
LEAVE_S = 10.0
"""So long workers may take to clear up; chosen."""


@dataclass(slots=True)
class _Hired:
    """A worker, and the group of cores that it has on its machine."""

    actor: Any
    machine: str = ""
    slot: int = 0


@dataclass(frozen=True, slots=True)
class _Task:
    """What a worker does: it is put in place, it loads the networks, or it reads a study."""

    worker: _Hired
    what: str
    order: Order | None = None
    material: Any = None


class Stream:
    """The reading of many studies.

    Parameters
    ----------
    ray
        The module, connected.
    get
        Returns a study's files; called in a thread, one study at a time.
    stop
        Ends `get`, where it waits.
    take
        Is called with each study's result, once for each.
    """

    def __init__(
        self,
        ray: Any,
        crew: Crew,
        make: Make,
        get: Callable[[Order], Material],
        stop: Callable[[], None],
        take: Callable[[Order, Reading], None],
    ) -> None:
        self._ray, self._crew, self._make = ray, crew, ray.put(make)
        self._get, self._stop, self._take = get, stop, take
        self._waiting: deque[Order] = deque()
        self._fetching: dict[Future[Material], Order] = {}
        self._ready: deque[tuple[Order, Any]] = deque()
        self._idle: list[_Hired] = []
        self._tasks: dict[Any, _Task] = {}
        self._slots: set[tuple[str, int]] = set()
        self._failed_starts = 0
        self._done = 0

    def run(self, orders: Sequence[Order]) -> Iterator[int]:
        """Read all studies; yield how many are done, each time that something happened.

        Raises
        ------
        IchnodeError
            If studies cannot be retrieved or read, whichever they are. Those done stay done.
        """
        self._waiting = deque(orders)
        for _ in range(min(self._crew.workers, len(orders))):
            self._hire()
        with ThreadPoolExecutor(1, "retrieval") as pool:
            try:
                while self._done < len(orders):
                    self._fetch_ahead(pool)
                    self._hand_out()
                    self._gather()
                    yield self._done
            finally:
                for future in self._fetching:
                    future.cancel()
                self._stop()
                self._leave()

    def _leave(self) -> None:
        """Have the workers that do nothing clear up; the others are ended."""
        closing = [worker.actor.close.remote() for worker in self._idle]
        if closing:
            self._ray.wait(closing, num_returns=len(closing), timeout=LEAVE_S)

    # --- retrieval ---

    def _fetch_ahead(self, pool: ThreadPoolExecutor) -> None:
        room = AHEAD * self._crew.workers - len(self._fetching) - len(self._ready)
        for _ in range(min(room, len(self._waiting))):
            order = self._waiting.popleft()
            self._fetching[pool.submit(self._get, order)] = order

    def _fetched(self) -> None:
        for future in [each for each in self._fetching if each.done()]:
            order = self._fetching.pop(future)
            try:
                self._ready.append((order, self._ray.put(future.result())))
            except Permanent as error:
                self._end(order, Reading("FAILED", str(error)))

    # --- workers ---

    def _hire(self) -> None:
        worker = _Hired(self._crew.hire(self._ray, self._make))
        self._tasks[worker.actor.place.remote()] = _Task(worker, "place")

    def _placed(self, worker: _Hired, machine: str) -> None:
        worker.machine = machine
        while (machine, worker.slot) in self._slots:
            worker.slot += 1
        self._slots.add((machine, worker.slot))
        loading = worker.actor.prepare.remote(worker.slot, self._crew.cores)
        self._tasks[loading] = _Task(worker, "prepare")

    def _hand_out(self) -> None:
        suspect = any(task.order and task.order.killed for task in self._tasks.values())
        for order, material in list(self._ready):
            if not self._idle:
                return
            if order.killed and suspect:
                continue
            suspect = suspect or order.killed > 0
            self._ready.remove((order, material))
            worker = self._idle.pop()
            reading = worker.actor.read.remote(material)
            self._tasks[reading] = _Task(worker, "read", order, material)

    def _gather(self) -> None:
        """Wait a moment for what was asked for, and take it."""
        if self._tasks:
            ready, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=POLL_S)
            for reference in ready:
                self._finish(reference, self._tasks.pop(reference))
        elif self._fetching:
            wait(self._fetching, POLL_S, "FIRST_COMPLETED")
        self._fetched()

    def _finish(self, reference: Any, task: _Task) -> None:
        from ray.exceptions import ObjectLostError, RayActorError, RayTaskError

        try:
            found = self._ray.get(reference)
        except RayActorError:
            self._lost(task)
        except ObjectLostError:
            self._retrieve_again(task)
        except RayTaskError as error:
            self._failed(task, error.cause)
        else:
            self._succeeded(task, found)

    def _succeeded(self, task: _Task, found: Any) -> None:
        if task.what == "place":
            self._placed(task.worker, found)
            return
        self._idle.append(task.worker)
        if task.order is not None:
            self._end(task.order, found)
        else:
            self._failed_starts = 0

    def _failed(self, task: _Task, cause: Exception) -> None:
        """Take what a worker raised: of a study its result, or what stops all of the reading."""
        from ray.exceptions import ObjectLostError

        if isinstance(cause, ObjectLostError):
            self._retrieve_again(task)
        elif task.order is None or isinstance(cause, Outage):
            if isinstance(cause, IchnodeError):
                raise cause
            raise Permanent(f"a worker cannot begin: {type(cause).__name__}: {cause}") from cause
        else:
            self._idle.append(task.worker)
            self._end(task.order, Reading("FAILED", f"{type(cause).__name__}: {cause}"))

    def _lost(self, task: _Task) -> None:
        """Put another worker in the place of one that is gone."""
        with suppress(Exception):
            self._ray.kill(task.worker.actor)
        self._slots.discard((task.worker.machine, task.worker.slot))
        if task.order is None:
            self._failed_starts += 1
            if self._failed_starts >= MOST_FAILED_STARTS:
                raise Permanent(
                    f"{self._failed_starts} workers ended one after the other while they loaded "
                    "the networks: is there too little memory for so many? See --actors"
                )
        else:
            task.order.killed += 1
            if task.order.killed >= MOST_KILLS:
                self._end(task.order, KILLED)
            else:
                self._ready.append((task.order, task.material))
        self._hire()

    def _retrieve_again(self, task: _Task) -> None:
        """Have a study's files retrieved anew: the machine that held them is gone."""
        self._idle.append(task.worker)
        if task.order is not None:
            self._waiting.append(task.order)

    def _end(self, order: Order, reading: Reading) -> None:
        self._take(order, reading)
        self._done += 1
