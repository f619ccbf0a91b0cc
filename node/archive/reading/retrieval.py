"""Studies of a server, retrieved as `ichnode pull` does, one after the other, into memory."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from node.archive.finding import Gentle
from node.archive.reading.study import Material
from node.arrive.archive import Archive, open_archive
from node.arrive.pull import Order, order
from node.dicom.net.association import Status
from node.dicom.net.retrieve import Take
from node.errors import BadConfiguration, IchnodeError, Permanent, Retryable
from node.settings import Settings, Source

PAUSES_S = (5.0, 30.0)
"""How long a server that failed is left alone, before a study is asked for again; chosen."""

Open = Callable[[Take], AbstractContextManager[Archive]]


def opener(source: Source, settings: Settings) -> Open:
    """Return what opens a server.

    Raises
    ------
    BadConfiguration
        If it sends by C-MOVE: that would go to the running node, and into its worklist.
    """
    if source.how == "move":
        raise BadConfiguration(
            f"{source.name}: an archive is read by C-GET or DICOMweb (how = get or web); by C-MOVE "
            "its studies would go to the running node"
        )
    return lambda take: open_archive(source, settings, take)


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
        failed = self._all(wanted, self._archive)
        listed = {uid for series in wanted.series for uid in series.wanted}
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

    def _take(self, file: bytes, named: tuple[str, str]) -> Status:
        self._came[named[1]] = (file, named)
        return Status.SUCCESS
