"""What a peer's refusal of a query or a retrieval means is said in words, with what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from node.dicom.net.retrieve import DimseArchive, dimse_archive
from node.errors import Retryable
from node.settings import Source


def answer(code: int, comment: str) -> Dataset:
    ds = Dataset()
    ds.Status, ds.ErrorComment = code, comment
    return ds


@contextmanager
def refusing(code: int, comment: str = "", *, move: bool = False) -> Iterator[DimseArchive]:
    """Run a PACS that answers whatever it is asked with one status; yield it as an archive."""

    def find(_event: evt.Event) -> Iterator[tuple[Dataset, None]]:
        yield answer(code, comment), None

    def get(_event: evt.Event) -> Iterator[object]:
        yield 1
        yield answer(code, comment), None

    def sent(_event: evt.Event) -> Iterator[object]:
        yield None, None  # it does not know the destination

    ae = AE("PACS")
    for model in (
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelGet,
        StudyRootQueryRetrieveInformationModelMove,
    ):
        ae.add_supported_context(model)
    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_C_GET, get), (evt.EVT_C_MOVE, sent)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)  # type: ignore[arg-type]
    try:
        port = server.socket.getsockname()[1]
        peer = Source(name="pacs", ae_title="PACS", host="127.0.0.1", port=port)
        with dimse_archive(
            peer, move=move, ae_title="ICHNODE", timeout_s=10, take=lambda *_: 0
        ) as archive:
            yield archive
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("code", "meaning", "remedy"),
    [
        (0xA700, "refused: out of resources", "ask again later"),
        (0xA900, "identifier does not match SOP class", "conformance statement"),
        (0xB001, "response limit", "raise that limit"),
        (0xC012, "unable to process", "log of pacs"),
        (0x0122, "refused: SOP class not supported", "allow ICHNODE"),
        (0x0124, "refused: not authorised", "allow ICHNODE"),
        (0x0FFF, "no meaning in PS3.4", "log of pacs"),
    ],
)
def test_a_query_that_is_refused_says_what_it_means_and_what_to_do(
    code: int, meaning: str, remedy: str
) -> None:
    with refusing(code) as archive, pytest.raises(Retryable) as error:
        archive.performed("20260101", 10)
    said = str(error.value)
    assert said.startswith("pacs: C-FIND") and f"0x{code:04X}" in said
    assert meaning.casefold() in said.casefold() and remedy in said


def test_a_retrieval_that_is_refused_says_so_in_the_same_words() -> None:
    with refusing(0xA701, "disk offline") as archive, pytest.raises(Retryable) as error:
        list(archive.fetch("1.2", "1.2.3"))
    said = str(error.value)
    assert said.startswith("pacs: C-GET") and "0xA701" in said and "disk offline" in said
    assert "unable to calculate number of matches" in said and "ask again later" in said
    assert said.endswith("1 object failed")


def test_a_destination_that_the_peer_does_not_know_is_named() -> None:
    with refusing(0, move=True) as archive, pytest.raises(Retryable) as error:
        list(archive.fetch("1.2", "1.2.3"))
    said = str(error.value)
    assert "C-MOVE failed, 0xA801: move destination unknown" in said and "ICHNODE" in said
