"""What OHIF shows of the node's results, from Orthanc and from the node's own DICOMweb."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from urllib.request import Request, urlopen

import numpy as np
import pytest

from node.settings import Settings, Web
from tests.support.archiving import serving_web
from tests.support.builder import HEAD, encoded, pixels
from tests.support.ohif import MASK, Study, Viewer, documented_address, viewer
from tests.support.peers import free_port, orthanc, wait_until
from tests.support.working import Clock, Predictor, receive_files, work, working_node

pytestmark = [pytest.mark.peer, pytest.mark.slow]

PLUGINS = "/usr/share/orthanc/plugins"
SHARP = HEAD(rows=112, columns=96, spacing_mm=(1.8, 1.8))
SCANS = {
    "suspected": SHARP(study="bleeding").build(),
    "not suspected": pixels(lambda stored: np.where(stored == 1096, 1060, stored))(
        SHARP(study="normal").build()
    ),
    "not analysed": SHARP(study="short", gaps_mm=(5.0,) * 4).build(),
}


@dataclass(frozen=True)
class Shown:
    """A viewer on two archives that hold the same studies."""

    ohif: Viewer
    page: str

    def study(self, verdict: str, archive: str) -> AbstractContextManager[Study]:
        uid = SCANS[verdict][0].StudyInstanceUID
        return self.ohif.study(f"{self.ohif.url}/viewer/{archive}?StudyInstanceUIDs={uid}")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("node")
    ours, port = free_port(), free_port()
    opens = documented_address().replace(
        "https://ohif.example/viewer?", f"http://127.0.0.1:{port}/viewer/node?"
    )
    web = Web(
        port=ours,
        origins=(f"http://127.0.0.1:{port}",),
        viewers=({"name": "OHIF", "url": opens},),
    )
    settings, clock = Settings(data_dir=folder / "data", web=web), Clock()
    with (
        working_node(settings, clock, Predictor()) as node,
        orthanc(folder / "orthanc", Plugins=[PLUGINS], DicomWeb={"Enable": True}) as pacs,
        serving_web(settings, node.worklist) as url,
    ):
        for images in SCANS.values():
            receive_files([encoded(ds) for ds in images], node)
        work(node, clock)
        for path in settings.data_dir.rglob("*.dcm"):
            urlopen(Request(f"{pacs.url}/instances", data=path.read_bytes()), timeout=30).close()
        with viewer(port, {"orthanc": "/dicom-web", "node": url}, pacs.url) as ohif:
            yield Shown(ohif, url.removesuffix("/dicom-web"))


@pytest.mark.parametrize("archive", ["orthanc", "node"])
@pytest.mark.parametrize(
    ("verdict", "said", "slice_shown"),
    [
        ("suspected", "Probability: 0.90", "I:17 (14/30)"),
        ("not suspected", "Probability: 0.10", "I:16 (15/30)"),
        ("not analysed", "images received: 5.00", "I:3 (3/5)"),
    ],
)
def test_each_report_opens_on_its_slice_with_its_numbers_and_the_plain_one_as_text(
    shown: Shown, archive: str, verdict: str, said: str, slice_shown: str
) -> None:
    with shown.study(verdict, archive) as study:
        assert "FPS" not in study.shows(9903, "S:9903")  # no cine bar over the words
        assert "RESEARCH USE ONLY" in study.shows(9904, "Conclusions")
        study.shows(9902, said)
        study.page.get_by_text(slice_shown).wait_for()


@pytest.mark.parametrize("archive", ["orthanc", "node"])
def test_the_mask_lies_on_the_images_voxel_by_voxel(shown: Shown, archive: str) -> None:
    images = {ds.SOPInstanceUID: ds for ds in SCANS["suspected"]}
    with shown.study("suspected", archive) as study:
        study.shows(9901, "Head 5.0")
        study.page.wait_for_function(f"() => ({MASK})().length === {len(images)}", timeout=60_000)
        seen = study.page.evaluate(MASK)
    assert {uid for uid, *_ in seen} == set(images)
    for uid, rows, columns, values in seen:
        ds = images[uid]
        hu = np.frombuffer(ds.PixelData, "<i2").reshape(ds.Rows, ds.Columns) - 1024
        overlay = np.array(list(values), int).reshape(rows, columns)
        np.testing.assert_array_equal(overlay, (hu >= 70) & (hu <= 75))


def test_the_button_of_the_study_view_opens_the_key_slice_and_the_mask_lies_over_it(
    shown: Shown,
) -> None:
    page = shown.ohif.browser.new_page()
    page.goto(f"{shown.page}/studies/1")  # the case that came first
    address = page.get_by_role("link", name="OHIF").get_attribute("href")
    page.close()
    with shown.ohif.study(address) as opened:
        key = opened.page.get_by_text("I:17 (14/30)")
        key.wait_for(timeout=30_000)
        assert not opened.coloured()
        assert "ICH SUSPECTED" in opened.shows(9901, "Do you want to open this Segmentation?")
        opened.page.get_by_role("button", name="Yes").click()
        opened.page.wait_for_function(MASK)
        opened.page.keyboard.press(
            "ArrowDown"
        )  # OHIF goes to a slice of its own choice, next to it
        key.wait_for(timeout=30_000)
        wait_until(lambda: opened.coloured() > 0, 30)
