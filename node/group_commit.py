"""Group commit: callers that wait at the same moment share one costly step, such as a commit.

Whoever comes while a group is being committed waits for the next one, which takes all who are there
by then. Nobody waits for a timer: a caller who is alone is a group of one, at once.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class GroupCommit(Generic[T, R]):
    """Commits what threads bring, together where several of them wait.

    Parameters
    ----------
    commit
        Commits all of a group and returns the result of each, in order; if it raises, nothing of
        the group is committed. One thread calls it at a time.
    shared
        An error of this kind concerns whoever tries: the group is not tried again one by one.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[T]], Sequence[R]],
        shared: type[Exception] | tuple[type[Exception], ...] = (),
    ) -> None:
        self._commit = commit
        self._shared = shared
        self._changed = threading.Condition()
        self._queue: list[tuple[T, Future[R]]] = []
        self._committing = False

    def join(self, item: T) -> R:
        """Return the item's result once it is committed, or raise the error that it met.

        Where a group fails, each of its items is tried alone, unless all share the error.
        """
        outcome: Future[R] = Future()
        with self._changed:
            self._queue.append((item, outcome))
            self._changed.wait_for(lambda: outcome.done() or not self._committing)
            if outcome.done():
                return outcome.result()
            group, self._queue = self._queue, []
            self._committing = True
        try:
            self._settle(group)
        finally:
            self._end(group)
        return outcome.result()

    def _settle(self, group: Sequence[tuple[T, Future[R]]]) -> None:
        try:
            results = self._commit([item for item, _ in group])
        except Exception as error:  # noqa: BLE001  # it is raised in the thread that it concerns
            if len(group) == 1:
                group[0][1].set_exception(error)
            elif isinstance(error, self._shared):
                for _, outcome in group:
                    outcome.set_exception(type(error)(*error.args))
            else:
                for each in group:
                    self._settle([each])
            return
        for (_, outcome), result in zip(group, results, strict=True):
            outcome.set_result(result)

    def _end(self, group: Sequence[tuple[T, Future[R]]]) -> None:
        """Let the others go on; who has no outcome by now, since the thread was ended, has none."""
        for _, outcome in group:
            outcome.cancel()
        with self._changed:
            self._committing = False
            self._changed.notify_all()
