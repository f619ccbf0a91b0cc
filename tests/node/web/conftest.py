"""The page as an application, on a worklist of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from node.depot import Depot
from node.dicom.read.pixels import load_volume
from node.settings import Settings, Viewer, Web
from node.web import Pictures, app
from node.worklist import Worklist
from tests.support.databases import new_database
from tests.support.listed import NOW

OHIF = Viewer(
    name="OHIF",
    url="https://ohif.example/?StudyInstanceUIDs={StudyInstanceUID}"
    "&initialSeriesInstanceUID={SeriesInstanceUID}&initialSOPInstanceUID={SOPInstanceUID}",
)


@pytest.fixture
def worklist(tmp_path: Path) -> Iterator[Worklist]:
    url = Settings(data_dir=tmp_path).url
    new_database(url)
    with Worklist(url) as opened:
        yield opened


def client(worklist: Worklist, tmp_path: Path, **web: object) -> TestClient:
    settings = Settings(data_dir=tmp_path, web=Web.model_validate({"viewers": [OHIF], **web}))
    pictures = Pictures(Depot(tmp_path), load_volume, load_volume, 64)
    application = app(worklist, settings, pictures, lambda: NOW)
    return TestClient(application, base_url="http://localhost", client=("127.0.0.1", 50000))


@pytest.fixture
def page(worklist: Worklist, tmp_path: Path) -> TestClient:
    """A browser at a page that can only be read."""
    return client(worklist, tmp_path)


@pytest.fixture
def night(worklist: Worklist, tmp_path: Path) -> TestClient:
    """A browser of Dr. Night, who may acknowledge."""
    return client(worklist, tmp_path, open_feedback_as="Dr. Night")
