"""The demo's PACS."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from pynetdicom import evt

from node.dicom.net.association import application_entity, contexts_archive
from node.dicom.net.requestor import tune


@contextmanager
def archive(ae_title: str, folder: Path) -> Iterator[int]:
    """Run a storage SCP on loopback that files what it receives in `folder`; yield its port.

    The file's name follows from the SOP Instance UID: an object sent twice is one file.
    """

    def keep(event: evt.Event) -> int:
        name = sha256(event.request.AffectedSOPInstanceUID.encode()).hexdigest()[:16]
        (folder / f"{name}.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    ae = application_entity(ae_title, timeout_s=10.0)
    ae.require_called_aet = True
    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        contexts=contexts_archive(),
        evt_handlers=[(evt.EVT_CONN_OPEN, tune), (evt.EVT_C_STORE, keep)],
    )
    try:
        yield server.server_address[1]
    finally:
        ae.shutdown()
