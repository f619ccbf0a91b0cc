"""Who reads, stores and gets what stands in the audit trail, whatever the protocol."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt

from node.arrive.query_scp import QueryScp
from node.arrive.storage_scp import Receiver
from node.audit import Trail
from node.dicom.net.association import STUDY_ROOT
from node.settings import Caller, Deliver, Destination, Receive, Settings
from node.worklist import Worklist
from tests.support.archiving import READ, WRITE, serving_archive
from tests.support.databases import new_database
from tests.support.peers import ct_series, free_port

FIND, MOVE, GET = STUDY_ROOT
DEAD = Destination(name="dead", ae_title="DEAD", host="127.0.0.1", port=free_port())
HERE = "127.0.0.1"


def rows(worklist: Worklist) -> list[tuple[str, str, str, str | None, str | None]]:
    """Return the trail of a worklist that may have been closed; it is closed again."""
    with closing(worklist):
        assert worklist.audit.faults()[0] == []
        found = worklist.audit.entries()
    return [
        (one.what.value, one.who, one.address, one.study_instance_uid, one.about) for one in found
    ]


@contextmanager
def receiving(folder: Path) -> Iterator[tuple[Worklist, int]]:
    """A node that serves VIEWER; when it ends, all notes are in the trail."""
    rights = Caller(ae_title="VIEWER", may=("store", "find", "move", "get"))
    settings = Settings(
        data_dir=folder / "node",
        receive=Receive(host=HERE, port=0, min_free_mb=0, callers=(rights,)),
        deliver=Deliver(destinations=(DEAD,), timeout_s=3.0),
    )
    new_database(settings.url)
    with Worklist(settings.url) as worklist, Trail(worklist.audit, now) as trail:
        queries = QueryScp(settings, worklist.archive, trail)
        handles = (worklist.arrivals, worklist.announcements)
        with Receiver(settings, *handles, now, queries, trail) as receiver:
            yield worklist, receiver.port


def now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def associated(port: int, **options: Any) -> Iterator[Any]:
    contexts = [build_context(uid) for uid in STUDY_ROOT]
    contexts.append(build_context(CTImageStorage, ExplicitVRLittleEndian))
    ae = AE("VIEWER")
    ae.dimse_timeout = ae.acse_timeout = ae.network_timeout = 30
    assoc = ae.associate(HERE, port, contexts, ae_title="ICHNODE", **options)
    assert assoc.is_established
    yield assoc
    assoc.release()


def asked(level: str, **keys: str) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


def test_store_find_move_and_get_are_in_the_trail_once_for_a_study(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "node.arrive.storage_scp")
    files = ct_series(tmp_path / "sent", 3)
    study = dcmread(files[0]).StudyInstanceUID
    whole = asked("STUDY", StudyInstanceUID=study)
    role = [build_role(CTImageStorage, scp_role=True)]
    handlers = [(evt.EVT_C_STORE, lambda _: 0x0000)]
    with receiving(tmp_path) as (worklist, port):
        with associated(port) as assoc:
            assert all(assoc.send_c_store(dcmread(file)).Status == 0 for file in files)
            list(assoc.send_c_find(asked("STUDY", PatientName="Doe*", StudyDate=""), FIND))
            for _ in range(3):
                list(assoc.send_c_find(asked("SERIES", StudyInstanceUID=study), FIND))
            list(assoc.send_c_move(whole, "DEAD", MOVE))
            list(assoc.send_c_move(whole, "STRANGER", MOVE))
        with associated(port, ext_neg=role, evt_handlers=handlers) as assoc:
            for _ in range(2):
                list(assoc.send_c_get(whole, GET))
    assert rows(worklist) == [
        ("STORED", "VIEWER", HERE, study, "C-STORE"),
        ("QUERIED", "VIEWER", HERE, None, "C-FIND STUDY by PatientName: 0 found"),
        ("QUERIED", "VIEWER", HERE, study, "C-FIND SERIES by StudyInstanceUID: 1 found"),
        ("RETRIEVED", "VIEWER", HERE, study, "C-MOVE to DEAD"),
        ("RETRIEVED", "VIEWER", HERE, study, "C-GET"),
    ]
    told = [getattr(record, "event", {}) for record in caplog.records]
    first, second = [one for one in told if one["action"] == "association"]
    assert (first["caller"], first["address"]) == ("'VIEWER'", HERE)
    assert (first["stored"], first["queries"], second["queries"]) == (3, 6, 2)
    assert first["s"] >= 0


@pytest.mark.parametrize("secret", [READ, WRITE])
def test_dicomweb_names_the_token_and_makes_one_row_of_a_viewer_s_slices(
    tmp_path: Path, secret: str
) -> None:
    files = [dcmread(path) for path in ct_series(tmp_path / "sent", 4)]
    study, series = files[0].StudyInstanceUID, files[0].SeriesInstanceUID
    with serving_archive(tmp_path) as served:
        served.client(WRITE).store_instances(files)
        client = served.client(secret)
        client.search_for_studies(search_filters={"PatientID": files[0].PatientID})
        for ds in files:
            client.retrieve_instance_frames(study, series, ds.SOPInstanceUID, [1])
        client.retrieve_study_metadata(study)
        with served.http(secret, Accept="application/dicom+json") as http:
            assert http.get("/studies/1.2.3/metadata").status_code == 404
            assert http.get("/studies/1.2.3/instances").status_code == 204
    who = {READ: "viewer", WRITE: "scanner"}[secret]
    assert rows(served.worklist) == [
        ("STORED", "scanner", HERE, study, "STOW-RS"),
        ("QUERIED", who, HERE, None, "QIDO-RS STUDY by PatientID: 1 found"),
        ("RETRIEVED", who, HERE, study, "WADO-RS"),
        ("QUERIED", who, HERE, "1.2.3", "QIDO-RS IMAGE by StudyInstanceUID: 0 found"),
    ]
