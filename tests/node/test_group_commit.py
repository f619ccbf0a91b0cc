import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from node.group_commit import GroupCommit
from tests.support.peers import wait_until


class Gone(Exception):
    pass


class Ledger:
    """Commits numbers; the first group waits until `opened`, so that others gather behind it."""

    def __init__(self, *, shared: type[Exception] | tuple[()] = ()) -> None:
        self.groups: list[list[int]] = []
        self.opened = threading.Event()
        self.fail: dict[int, Exception] = {}
        self.commits: GroupCommit[int, int] = GroupCommit(self._commit, shared)

    def _commit(self, items: Sequence[int]) -> list[int]:
        self.groups.append(list(items))
        assert self.opened.wait(10)
        for item in items:
            if item in self.fail:
                raise self.fail[item]
        return [10 * item for item in items]

    def bring(self, *items: int) -> list[int | Exception]:
        """Bring the first alone, and the others while it is committed; return what each got."""

        def join(item: int) -> int | Exception:
            try:
                return self.commits.join(item)
            except (Gone, ValueError) as error:
                return error

        with ThreadPoolExecutor(len(items)) as pool:
            first = pool.submit(join, items[0])
            wait_until(lambda: self.groups)
            others = []
            for number, item in enumerate(items[1:], 1):
                others.append(pool.submit(join, item))
                wait_until(lambda number=number: len(self.commits._queue) == number)
            self.opened.set()
            return [each.result(10) for each in (first, *others)]


def test_one_who_is_alone_is_a_group_of_one_at_once():
    ledger = Ledger()
    ledger.opened.set()
    assert [ledger.commits.join(item) for item in (1, 2)] == [10, 20]
    assert ledger.groups == [[1], [2]]


def test_all_who_wait_are_committed_together_and_each_gets_its_own_result():
    ledger = Ledger()
    assert ledger.bring(1, 2, 3, 4) == [10, 20, 30, 40]
    assert ledger.groups == [[1], [2, 3, 4]]


def test_one_that_fails_does_not_fail_its_neighbours():
    ledger = Ledger()
    wrong = ledger.fail[3] = ValueError("three")
    assert ledger.bring(1, 2, 3, 4) == [10, 20, wrong, 40]
    assert ledger.groups == [[1], [2, 3, 4], [2], [3], [4]]


def test_an_error_that_concerns_all_is_met_once_and_not_by_each_in_turn():
    ledger = Ledger(shared=Gone)
    ledger.fail = dict.fromkeys((2, 3, 4), Gone("locked"))
    first, *others = ledger.bring(1, 2, 3, 4)
    assert first == 10
    assert [(type(error), str(error)) for error in others] == [(Gone, "locked")] * 3
    assert ledger.groups == [[1], [2, 3, 4]]


def test_a_thread_that_is_ended_as_it_commits_leaves_nobody_waiting():
    ledger = Ledger()
    ledger.opened.set()
    ledger.fail[1] = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        ledger.commits.join(1)
    assert ledger.commits.join(2) == 20
