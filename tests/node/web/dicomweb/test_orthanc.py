"""Orthanc's DICOMweb plug-in pulls from the node and stows into it."""

import json
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from pydicom import dcmread

from tests.support.archiving import WRITE, serving_archive
from tests.support.peers import Orthanc, ct_series, orthanc, peer, storescu

PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


def ask(server: Orthanc, path: str, **said: Any) -> Any:
    request = Request(f"{server.url}{path}", data=json.dumps(said).encode())
    with urlopen(request, timeout=60) as response:
        return json.loads(response.read())


@pytest.mark.peer
def test_orthanc_pulls_a_study_and_stows_another(tmp_path: Path) -> None:
    if not Path(PLUGIN).exists():
        pytest.skip("needs orthanc-dicomweb")
    here, there = ct_series(tmp_path / "a", 3), ct_series(tmp_path / "b", 3, seed="b")
    with serving_archive(tmp_path) as archive:
        archive.take(here)
        node = {
            "Url": f"{archive.url}/",
            "HttpHeaders": {"Authorization": f"Bearer {WRITE}"},
        }
        web = {"Enable": True, "Root": "/dicom-web/", "Servers": {"ichnode": node}}
        with orthanc(tmp_path / "orthanc", Plugins=[PLUGIN], DicomWeb=web) as server:
            study = dcmread(here[0]).StudyInstanceUID
            found = ask(
                server,
                "/dicom-web/servers/ichnode/qido",
                Uri="/studies",
                Arguments={"StudyInstanceUID": study},
            )
            assert len(found) == 1
            ask(
                server,
                "/dicom-web/servers/ichnode/retrieve",
                Resources=[{"Study": study}],
                Synchronous=True,
            )
            got = server.instances(study)
            assert set(got) == {dcmread(path).SOPInstanceUID for path in here}
            storescu(there, server.port, called=peer("ORTHANC", server.port).ae_title)
            other = dcmread(there[0]).StudyInstanceUID
            held = list(server.instances(other).values())
            assert len(held) == 3
            ask(
                server,
                "/dicom-web/servers/ichnode/stow",
                Resources=held,
                Synchronous=True,
            )
        (series,) = archive.worklist.arrivals.study(other)
        assert {one.header.sop_instance_uid for one in series.instances} == {
            dcmread(path).SOPInstanceUID for path in there
        }
