"""Query and retrieve by DIMSE: C-FIND, then C-GET or C-MOVE (PS3.4 annex C, Study Root)."""

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import build_context, build_role, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from node.announced import OF_SERIES, OF_STUDY, ListedSeries, ListedStudy
from node.dicom.net.association import (
    ACCEPTED_SOP_CLASSES,
    ACCEPTED_TRANSFER_SYNTAXES,
    Status,
    part10_prefix,
)
from node.dicom.net.refusals import refusal
from node.dicom.net.requestor import Peer, associated
from node.dicom.read.elements import text
from node.errors import Permanent, Retryable
from node.wording import counted

Take = Callable[[bytes, tuple[str, str]], Status]
"""Files a Part 10 object announced with this SOP class and instance UID; returns its status."""

FIND = StudyRootQueryRetrieveInformationModelFind
GET = StudyRootQueryRetrieveInformationModelGet
MOVE = StudyRootQueryRetrieveInformationModelMove

PENDING = (0xFF00, 0xFF01)
CANCELLED = 0xFE00


@contextmanager
def dimse_archive(
    peer: Peer, *, move: bool, ae_title: str, timeout_s: float, take: Take
) -> Iterator["DimseArchive"]:
    """Yield the peer's archive over one association.

    Parameters
    ----------
    move
        Whether to retrieve by C-MOVE to our own storage SCP; else by C-GET.
    take
        Files each object that C-GET brings.

    Raises
    ------
    Retryable
        If there is no association with the peer.
    """

    def store(event: evt.Event) -> int:
        request, context = event.request, event.context
        named = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        prefix = part10_prefix(*named, context.transfer_syntax)
        return take(prefix + event.encoded_dataset(include_meta=False), named)

    contexts = [build_context(FIND), build_context(MOVE if move else GET)]
    roles = []
    if not move:
        # Each context has one transfer syntax: the peer can send each object as it is stored.
        pairs = [(c, s) for c in ACCEPTED_SOP_CLASSES for s in ACCEPTED_TRANSFER_SYNTAXES]
        contexts += [build_context(sop_class, syntax) for sop_class, syntax in pairs]
        roles = [build_role(sop_class, scp_role=True) for sop_class in ACCEPTED_SOP_CLASSES]
    with associated(
        peer,
        contexts,
        ae_title=ae_title,
        timeout_s=timeout_s,
        roles=roles,
        handlers=[(evt.EVT_C_STORE, store)],
    ) as assoc:
        yield DimseArchive(assoc, peer.name, ae_title if move else None)


@contextmanager
def dimse_index(peer: Peer, *, ae_title: str, timeout_s: float) -> Iterator["DimseArchive"]:
    """Yield the peer's archive over one association that serves to query it alone.

    Raises
    ------
    Retryable
        If there is no association with the peer.
    """
    with associated(peer, [build_context(FIND)], ae_title=ae_title, timeout_s=timeout_s) as assoc:
        yield DimseArchive(assoc, peer.name, None, query_s=2 * timeout_s)


class DimseArchive:
    """A peer that can be queried, and retrieved from.

    Parameters
    ----------
    move_to
        The AE title that C-MOVE sends to; with None, C-GET brings objects over this association.
    query_s
        How long all answers to a query may take together.
    """

    def __init__(
        self, assoc: Any, name: str, move_to: str | None, *, query_s: float = math.inf
    ) -> None:
        self._query_s = query_s
        self._assoc = assoc
        self._name = name
        self._move_to = move_to

    def studies(self, accession_number: str) -> list[str]:
        """Return the UIDs of the studies with this accession number.

        Raises
        ------
        Retryable, Permanent
            If the peer does not answer with success.
        """
        found = self._find("STUDY", AccessionNumber=accession_number, StudyInstanceUID="")
        return [text(ds, "StudyInstanceUID") for ds in found]

    def modalities(self, study: str) -> dict[str, str]:
        """Return the Modality of each series of a study, by its UID; raises as `studies`."""
        found = self._find("SERIES", StudyInstanceUID=study, SeriesInstanceUID="", Modality="")
        return {text(ds, "SeriesInstanceUID"): text(ds, "Modality") for ds in found}

    def performed(self, dates: str, limit: int) -> tuple[list[ListedStudy], bool]:
        """Return the CT studies of these dates, and whether there are more than `limit`.

        A peer that does not match ModalitiesInStudy lists studies of other modalities too. Beyond
        the limit the query is cancelled (PS3.4 C.4.1.1.3.1). Raises as `studies`.

        Parameters
        ----------
        dates
            A date or a range of dates as DICOM writes them (PS3.4 C.2.2.2.5).
        """
        keys = dict.fromkeys(OF_STUDY, "") | {"StudyDate": dates, "ModalitiesInStudy": "CT"}
        found = self._answers("STUDY", keys, limit)
        return [ListedStudy.of(partial(text, ds)) for ds in found[:limit]], len(found) > limit

    def series(self, study: str) -> list[ListedSeries]:
        """Return the series of a study; raises as `studies`."""
        keys = dict.fromkeys(OF_SERIES, "") | {"StudyInstanceUID": study}
        found = self._answers("SERIES", keys)
        return [ListedSeries.of(partial(text, ds)) for ds in found]

    def count(self, study: str, series: str) -> int | None:
        """Return NumberOfSeriesRelatedInstances of a series; raises as `studies`.

        It is 0 if the peer does not know the series, None if it does not tell the number.
        """
        found = self._find(
            "SERIES",
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            NumberOfSeriesRelatedInstances=None,
        )
        mine = [ds for ds in found if text(ds, "SeriesInstanceUID") == series]
        return ListedSeries.of(partial(text, mine[0])).images if mine else 0

    def images(self, study: str, series: str) -> dict[str, str]:
        """Return the SOP class of each object of a series, by its UID; raises as `studies`.

        It is "" if the peer does not say.
        """
        found = self._find(
            "IMAGE",
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            SOPInstanceUID="",
            SOPClassUID="",
        )
        return {text(ds, "SOPInstanceUID"): text(ds, "SOPClassUID") for ds in found}

    def fetch(self, study: str, series: str, images: Collection[str] = ()) -> Iterator[int]:
        """Have a series sent, or only these of its images; yield how many have been sent so far.

        Raises
        ------
        Retryable, Permanent
            If the peer refuses, some objects failed, or the association ended.
        """
        keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
        if not images:
            yield from self._retrieve("SERIES", **keys)
        failed: Retryable | None = None
        for number, image in enumerate(sorted(images), start=1):  # few archives take a list
            try:
                yield from (number for _ in self._retrieve("IMAGE", **keys, SOPInstanceUID=image))
            except Retryable as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _retrieve(self, level: str, **keys: str) -> Iterator[int]:
        """Yield how many objects have been sent, each time that the peer says so."""
        wanted = _identifier(level, keys)
        if self._move_to is None:
            answers = self._ask(self._assoc.send_c_get, "C-GET", wanted, GET)
        else:
            answers = self._ask(self._assoc.send_c_move, "C-MOVE", wanted, self._move_to, MOVE)
        for answer, _ in answers:
            yield _number(answer, "Completed") + _number(answer, "Warning")

    def _find(self, level: str, **keys: str | None) -> list[Dataset]:
        return self._answers(level, keys)

    def _answers(
        self, level: str, keys: Mapping[str, str | None], limit: float = math.inf
    ) -> list[Dataset]:
        """Return the answers; beyond the limit the query is cancelled, and one more is returned."""
        wanted = _identifier(level, keys)
        answers = self._ask(self._assoc.send_c_find, "C-FIND", wanted, FIND)
        found: list[Dataset] = []
        until = time.monotonic() + self._query_s
        for _, ds in answers:
            if time.monotonic() > until:
                raise Retryable(f"{self._name}: its answers to a C-FIND do not end")
            if ds is None or len(found) > limit:
                continue  # what was under way when the query was cancelled
            found.append(ds)
            if len(found) > limit:
                self._assoc.send_c_cancel(1, query_model=FIND)
        return found

    def _ask(
        self, send: Callable[..., Any], what: str, *arguments: Any
    ) -> Iterator[tuple[Dataset, Dataset | None]]:
        """Yield the answers to a request: pending ones, then a success.

        Raises
        ------
        Permanent
            If the peer did not accept the service.
        Retryable
            If it answers with a failure, or does not answer.
        """
        try:
            answers = send(*arguments)
        except ValueError as error:
            raise Permanent(f"{self._name} does not offer {what}: see pull.sources.how") from error
        except RuntimeError as error:
            raise Retryable(f"{self._name}: the association has ended") from error
        for answer, found in answers:
            if "Status" not in answer:
                raise Retryable(
                    f"{self._name}: no answer to the {what}: the association ended before it, or "
                    "it takes longer than pull.timeout_s"
                )
            if answer.Status == CANCELLED and what == "C-FIND":
                return  # as `_find` asked for
            if answer.Status not in PENDING and answer.Status != Status.SUCCESS:
                raise Retryable(f"{self._name}: {self._why(answer, what)}")
            yield answer, found

    def _why(self, answer: Dataset, what: str) -> str:
        """Return what a status other than success means, and how many objects failed."""
        said = refusal(
            what,
            int(answer.Status),
            peer=self._name,
            ae_title=self._move_to or str(self._assoc.ae.ae_title),
            comment=str(answer.get("ErrorComment", "")),
        )
        failed = _number(answer, "Failed")
        return f"{said}; {counted(failed, 'object')} failed" if failed else said


def _identifier(level: str, keys: Mapping[str, str | None]) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


def _number(answer: Dataset, which: str) -> int:
    """Return a count of sub-operations (PS3.7 C.4.2.1); 0 if the peer leaves it out."""
    return int(answer.get(f"NumberOf{which}Suboperations") or 0)
