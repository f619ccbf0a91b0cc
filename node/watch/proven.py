"""On which scanners, software and kernels the department has proved the node."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from node.cases.limitations import not_yet_proven
from node.records import Header
from node.settings import Settings
from node.watch.agreement import BEGINNING, COMPARED, Watched, scanner_name, watched
from node.worklist import Worklist

RENEWED = timedelta(hours=1)
"""How long a count is good. Chosen: reports come hours after their studies."""
Kind = tuple[str, str, str]
"""The scanner, and its software or a kernel; "" for what is not told apart."""


class Proven:
    """Says of a series what too few studies were compared of, by its header, as limitations."""

    def __init__(
        self, settings: Settings, worklist: Worklist, clock: Callable[[], datetime]
    ) -> None:
        self._least = settings.watch.proven
        self._worklist = worklist
        self._clock = clock
        self._counts: Counter[Kind] = Counter()
        self._counted_at: datetime | None = None

    def __call__(self, header: Header) -> tuple[str, ...]:
        """Return a sentence for the scanner; where that is proved, for its software and kernel."""
        counts = self._known()
        scanner, software, kernel = _kinds(
            scanner_name(header.manufacturer, header.manufacturer_model_name, header.station_name),
            header.software_versions,
            header.convolution_kernel,
        )
        if counts[scanner] < self._least:
            return (not_yet_proven("this scanner", counts[scanner]),)
        asked = ((software, "this scanner's software"), (kernel, "this kernel of the scanner"))
        return tuple(
            not_yet_proven(words, counts[kind])
            for kind, words in asked
            if kind != scanner and counts[kind] < self._least
        )

    def _known(self) -> Counter[Kind]:
        now = self._clock()
        if self._counted_at is None or now - self._counted_at >= RENEWED:
            studies = self._worklist.statistics.studies(BEGINNING)
            self._counts = _counted(watched(studies, self._worklist.reports.counting()))
            self._counted_at = now
        return self._counts


def _counted(studies: Iterable[Watched]) -> Counter[Kind]:
    compared = (one for one in studies if one.agreement in COMPARED)
    return Counter(
        kind
        for one in compared
        for kind in set(_kinds(one.scanner, one.study.software, one.study.kernel))
    )


def _kinds(scanner: str, software: str, kernel: str) -> tuple[Kind, Kind, Kind]:
    return (scanner, "", ""), (scanner, software, ""), (scanner, "", kernel)
