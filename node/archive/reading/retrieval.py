"""Studies of a server, retrieved as `ichnode pull` does, one after the other, into memory."""

import time
from collections.abc import Callable, Set
from contextlib import AbstractContextManager, ExitStack

from node.archive.finding import Gentle
from node.archive.reading.moving import MoveTo, moving_archive
from node.archive.reading.study import Material
from node.arrive.archive import Archive, open_archive
from node.arrive.pull import MOVED_S, Order, order
from node.dicom.net.association import Status
from node.dicom.net.retrieve import Take
from node.errors import BadConfiguration, IchnodeError, Permanent, Retryable
from node.settings import Settings, Source

PAUSES_S = (5.0, 30.0)
"""How long a server that failed is left alone, before a study is asked for again; chosen."""

Open = Callable[[Take], AbstractContextManager[Archive]]


def opener(source: Source, settings: Settings, to: MoveTo | None = None) -> Open:
    """Return what opens a server.

    Parameters
    ----------
    to
        Where a server sends by C-MOVE.

    Raises
    ------
    BadConfiguration
        If it sends by C-MOVE, and nothing says where to: the running node must not get it.
    """
    if source.how != "move":
        return lambda take: open_archive(source, settings, take)
    if to is None:
        raise BadConfiguration(
            f"{source.name} sends by C-MOVE: --move-to AE_TITLE:PORT says where to, for this "
            "reading alone; it must know that AE title, with this machine's address"
        )
    return lambda take: moving_archive(source, to, settings, take)


class Retrieval:
    """One association with a server, which is opened when it is needed.

    Parameters
    ----------
    tell
        Is called with a line where there is a wait.
    """

    def __init__(
        self,
        source: Source,
        open_it: Open,
        gentle: Gentle,
        tell: Callable[[str], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source, self._open, self._gentle = source, open_it, gentle
        self._tell, self._sleep = tell, sleep
        self._stack = ExitStack()
        self._archive: Archive | None = None
        self._listed: Set[str] = frozenset()
        self._came: dict[str, tuple[bytes, tuple[str, str]]] = {}

    def get(self, study: str) -> Material:
        """Return the CT objects of a study.

        It is asked for anew where some did not come; in the end they are counted as lost.

        Raises
        ------
        Permanent
            If the server has no CT of it.
        Retryable
            If the server does not answer.
        """
        for pause in (*PAUSES_S, None):
            self._wait()
            began = time.perf_counter()
            try:
                lost = self._fetch(study)
            except Retryable:
                self.close()
                if pause is None:
                    raise
            else:
                if not lost or pause is None:
                    taken = time.perf_counter() - began
                    return Material(study, (), tuple(self._came.values()), lost, taken)
            self._sleep(pause)
        raise AssertionError("the last pause is None")

    def close(self) -> None:
        """End the association."""
        self._archive = None
        self._stack.close()

    def _wait(self) -> None:
        if not self._gentle.may():
            self.close()
            self._gentle.wait_for_hours(self._tell)
        self._gentle.wait()

    def _fetch(self, study: str) -> int:
        """Fetch a study; return how many objects did not come."""
        self._came = {}
        if self._archive is None:
            self._archive = self._stack.enter_context(self._open(self._take))
        wanted = order(self._archive, study, self._source)
        listed = {uid for series in wanted.series for uid in series.wanted}
        self._listed = listed
        failed = self._all(wanted, self._archive)
        if self._source.how == "move" and failed is None:
            self._await(listed)
        if failed is not None and not self._came:
            raise failed
        if failed is not None:
            self.close()
        return len(listed - set(self._came)) or int(failed is not None)

    def _all(self, wanted: Order, archive: Archive) -> Retryable | None:
        """Fetch all series; return what failed last."""
        failed = None
        for series in wanted.series:
            images = () if series.whole else series.wanted
            try:
                for _ in archive.fetch(
                    wanted.study_instance_uid, series.series_instance_uid, images
                ):
                    pass
            except Permanent:
                raise
            except IchnodeError as error:
                failed = Retryable(str(error))
        return failed

    def _await(self, listed: Set[str]) -> None:
        """Wait for what the server is still sending."""
        until = time.monotonic() + MOVED_S
        while not listed <= set(self._came) and time.monotonic() < until:
            time.sleep(0.1)

    def _take(self, file: bytes, named: tuple[str, str]) -> Status:
        if self._listed and named[1] not in self._listed:
            return Status.PROCESSING_FAILURE
        self._came[named[1]] = (file, named)
        return Status.SUCCESS
