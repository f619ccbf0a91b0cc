"""One study: its pictures show the voxels that were received, and the page tells all of it."""

import html
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from urllib.parse import parse_qs

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from models.volume import Volume
from models.windows import BRAIN
from node.case_folder import CaseFolder, case_folder
from node.cases.quality import Quality, gate
from node.depot import Depot
from node.dicom.read.pixels import load_volume
from node.records import Scan as Recorded
from node.records import SeriesPlan
from node.settings import Settings
from node.web import Pictures
from node.web.pictures import NoPicture
from node.worklist import Worklist
from tests.node.web.conftest import client
from tests.support.builder import HEAD, Scan
from tests.support.listed import ASSEMBLED, NEGATIVE, SUSPECTED, study
from tests.support.peers import wait_until
from tests.support.working import Clock, Predictor, receive, work, working_node


def filled(folder: Path, scan: Scan) -> Path:
    """Receive a scan and read it; return the data folder."""
    settings, clock = Settings(data_dir=folder / "data"), Clock()
    with working_node(settings, clock, Predictor()) as node:
        receive(node, scan=scan)
        work(node, clock)
    return settings.data_dir


@pytest.fixture(scope="module")
def suspected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("suspected"), HEAD)


@pytest.fixture
def read(suspected: Path, tmp_path: Path) -> Iterator[tuple[Worklist, Path]]:
    """A worklist with one suspected study, and its data folder."""
    root = copytree(suspected, tmp_path / "data")
    with Worklist(f"sqlite:///{root}/ichnode.sqlite") as worklist:
        yield worklist, root


@pytest.fixture
def browser(read: tuple[Worklist, Path]) -> TestClient:
    return client(*read)


def plan(root: Path, case: int = 1) -> SeriesPlan:
    return CaseFolder(root, case_folder(case)).require_plan()


def grey(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_a_slice_shows_the_voxels_in_its_window_and_in_proportion(
    read: tuple[Worklist, Path], browser: TestClient
) -> None:
    volume = load_volume(plan(read[1]), read[1])
    high, wide = volume.spacing_mm
    assert high != wide
    for number in (1, 12, 30):
        shown = grey(browser.get(f"/cases/1/slices/{number}.png?level=40&width=80").content)
        assert shown.shape == (round(volume.hu.shape[1] * high / wide), volume.hu.shape[2])
        expected = np.rint(BRAIN(volume.hu[number - 1].round()) * 255)
        # Rows are stretched: each row of the series is found where its middle lies.
        middle = ((np.arange(volume.hu.shape[1]) + 0.5) * high / wide).astype(int)
        assert np.abs(shown[middle].astype(int) - expected)[5:-5].mean() < 12
        assert np.corrcoef(shown[middle].ravel(), expected.ravel())[0, 1] > 0.95


def test_another_window_is_another_picture(browser: TestClient) -> None:
    brain = grey(browser.get("/cases/1/slices/12.png?level=40&width=80").content)
    bone = grey(browser.get("/cases/1/slices/12.png?level=500&width=3000").content)
    assert np.array_equal(brain, grey(browser.get("/cases/1/slices/12.png").content))
    assert brain.max() == 255 and brain.mean() != bone.mean()


@pytest.mark.parametrize("window", ["level=a&width=80", "level=40&width=-1", "level=1e9&width=80"])
def test_no_window_is_refused(browser: TestClient, window: str) -> None:
    assert browser.get(f"/cases/1/slices/12.png?{window}").status_code == 400


def test_the_mask_is_where_it_was_found_and_transparent_elsewhere(
    read: tuple[Worklist, Path], browser: TestClient
) -> None:
    mask = CaseFolder(read[1], case_folder(1)).read_mask()
    assert mask is not None
    index = int(mask.sum((1, 2)).argmax())
    cover = grey(browser.get(f"/cases/1/slices/{index + 1}/mask.png").content)[..., 3]
    volume = load_volume(plan(read[1]), read[1])
    high, wide = volume.spacing_mm
    middle = ((np.arange(mask.shape[1]) + 0.5) * high / wide).astype(int)
    agreed = (cover[middle] > 40) == mask[index]
    assert agreed.mean() > 0.995 and (cover[middle] > 40)[mask[index]].mean() > 0.9
    empty = int(mask.sum((1, 2)).argmin())
    nothing = grey(browser.get(f"/cases/1/slices/{empty + 1}/mask.png").content)
    assert nothing.shape == (1, 1, 2) and not nothing.any()


def test_the_key_slice_is_a_small_square_of_the_head(browser: TestClient) -> None:
    picture = Image.open(io.BytesIO(browser.get("/cases/1/key.jpg").content))
    assert picture.size == (144, 144)
    red, green, blue = (np.asarray(picture, int)[..., n] for n in range(3))
    assert ((red - blue > 40) & (green - blue > 20)).any()  # amber: what is outlined


@pytest.mark.parametrize("number", ["0", "31", "999"])
def test_a_slice_that_is_not_there_is_said_not_to_be(browser: TestClient, number: str) -> None:
    answer = browser.get(f"/cases/1/slices/{number}.png")
    assert answer.status_code == 422 and "no slice" in answer.text
    assert browser.get(f"/cases/7/slices/{number}.png").status_code == 422


def test_images_that_changed_on_disk_are_not_shown(
    read: tuple[Worklist, Path], browser: TestClient
) -> None:
    path = read[1] / plan(read[1]).slices[11].path
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    answer = browser.get("/cases/1/slices/12.png")
    assert answer.status_code == 422 and "changed on disk" in answer.text
    path.unlink()
    assert "is on disk no more" in browser.get("/cases/1/slices/12.png").text


def test_series_stay_in_memory_within_the_bound(read: tuple[Worklist, Path]) -> None:
    _, root = read
    loads: list[int] = []

    def counted(plan: SeriesPlan, folder: Path) -> Volume:
        loads.append(len(plan.slices))
        volume = load_volume(plan, folder)
        return replace(volume, hu=np.repeat(np.repeat(volume.hu, 8, 1), 8, 2))

    pictures = Pictures(Depot(root), counted, counted, memory_mb=1)
    for case in (2, 3):
        (root / "cases" / str(case)).symlink_to(root / "cases" / "1")

    def comes_from_memory(case: int) -> bool:
        before = len(loads)
        pictures.slice_png(case, 0, BRAIN)
        return len(loads) == before

    for case in (1, 2, 3):
        assert not comes_from_memory(case)
        wait_until(lambda case=case: comes_from_memory(case))
    assert loads.count(30) == 3
    assert comes_from_memory(3)  # the last one stays, though it is larger than the bound
    assert not comes_from_memory(1)
    pictures.close()


def test_a_study_is_called_by_a_case_number_and_by_nothing_of_its_patient(
    read: tuple[Worklist, Path], browser: TestClient
) -> None:
    worklist, _ = read
    (row,) = worklist.views.worklist(Clock()())
    answer = browser.get("/studies/1")
    assert answer.status_code == 200
    title = re.search("<title>(.*?)</title>", answer.text)
    assert title and title[1] == "ichnode study 1"
    paths = re.findall(r"""(?:src|href)=["'](/[^"']*)""", answer.text)
    for secret in (row.patient_id, row.accession_number, row.study_instance_uid):
        assert secret and not any(secret in path for path in paths)
    assert browser.get("/studies/2").status_code == 404


def test_a_viewer_is_asked_for_the_study_the_series_that_was_read_and_its_key_slice(
    read: tuple[Worklist, Path], browser: TestClient
) -> None:
    found = plan(read[1])
    text = browser.get("/studies/1").text
    key = int(re.findall(r'data-key="(\d+)"', text)[0])
    (address,) = re.findall(r'href="https://ohif.example/\?([^"]*)"', text)
    assert parse_qs(html.unescape(address)) == {
        "StudyInstanceUIDs": [found.study_instance_uid],
        "initialSeriesInstanceUID": [found.series_instance_uid],
        "initialSOPInstanceUID": [found.slices[key - 1].sop_instance_uid],
    }


def test_the_page_tells_what_was_found_why_and_when(browser: TestClient) -> None:
    text = " ".join(browser.get("/studies/1").text.split())
    for said in (
        "RESEARCH USE ONLY - NOT FOR DIAGNOSTIC USE",
        "NOT FOR DIAGNOSTIC USE, FOR PRIORITISATION ONLY",
        "Suspected",
        "Outlined volume",
        "Complete because",
        "the association was released",
        "sooner than by the idle timer",
        "Time budget",
        "last slice",
        "receiving → assembled",
        'href="https://ohif.example/?StudyInstanceUIDs=',
    ):
        assert said in text, said
    assert text.count('class="bar') >= 30
    assert len(re.findall(r'class="bar key"', text)) == 1


def test_a_series_that_was_not_analysed_shows_its_slices_and_why(tmp_path: Path) -> None:
    root = filled(tmp_path, HEAD.having(ContrastBolusAgent="IOMERON"))
    with Worklist(Settings(data_dir=root).url) as worklist:
        browser = client(worklist, root)
        assert "Not analysed: read it as usual" in browser.get("/studies/1").text
        assert "IOMERON" in browser.get("/studies/1").text
        shown = grey(browser.get("/cases/1/slices/3.png").content)
        assert shown.max() > 200 > 50 > shown.min()


def test_priors_of_the_same_patient_are_linked_and_nobody_elses(tmp_path: Path) -> None:
    settings, clock = Settings(data_dir=tmp_path / "data"), Clock()
    with working_node(settings, clock, Predictor()) as node:
        for name, patient in (("a", "P1"), ("b", "P1"), ("c", "P2"), ("d", ""), ("e", "")):
            receive(node, scan=HEAD(study=name, patient=patient), only=slice(0, 2))
            clock.wait(60)
        browser = client(node.worklist, settings.data_dir)

        def others(case: int) -> list[str]:
            html = browser.get(f"/studies/{case}").text
            _, _, after = html.partition("Other studies of this patient")
            return re.findall(r'href="/studies/(\d+)"', after.partition("</section>")[0])

        assert [others(case) for case in range(1, 6)] == [["2"], ["1"], [], [], []]


def test_a_damaged_case_folder_still_gives_a_page(
    read: tuple[Worklist, Path], browser: TestClient
) -> None:
    folder = read[1] / "cases" / "1"
    (folder / "findings.json").write_text("{")
    (folder / "mask.npz").write_bytes(b"PK\x03\x04 cut off")
    assert browser.get("/studies/1").status_code == 200
    assert browser.get("/cases/1/slices/12.png").status_code == 200
    assert not grey(browser.get("/cases/1/slices/12/mask.png").content).any()
    (folder / "series.json").write_text("")
    assert browser.get("/studies/1").status_code == 200
    assert browser.get("/cases/1/slices/12.png").status_code == 422


def test_an_unreadable_picture_raises_no_picture(tmp_path: Path) -> None:
    pictures = Pictures(Depot(tmp_path), load_volume, load_volume, 64)
    with pytest.raises(NoPicture, match="no series"):
        pictures.slice_png(1, 0, BRAIN)
    pictures.close()


def test_scans_of_a_study_are_tabs_the_worst_one_first(
    worklist: Worklist, page: TestClient
) -> None:
    first = replace(ASSEMBLED, scan=Recorded("a", "2026-11-20 01:00"))
    second = replace(ASSEMBLED, scan=Recorded("b", "2026-11-20 03:00"))
    study(worklist, 1, first, NEGATIVE)
    study(worklist, 1, second, SUSPECTED, series=2)
    html = " ".join(page.get("/studies/1").text.split())
    tabs = re.findall(r'<a href="/studies/(\d)"( aria-current="page")?>(Scan \d, [^<]+)<', html)
    assert tabs == [
        ("2", "", "Scan 1, 2026-11-20 03:00 "),
        ("1", ' aria-current="page"', "Scan 2, 2026-11-20 01:00 "),
    ]
    assert 'data-shown="SUSPECTED"' in html  # the study is as its worst scan, whichever is shown


def test_what_a_marked_region_looks_like_stands_beside_the_suspicion(
    read: tuple[Worklist, Path], browser: TestClient
) -> None:
    folder = CaseFolder(read[1], case_folder(1))
    assert "May look like blood" not in browser.get("/studies/1").text
    found = replace(folder.require_findings(), mimics=("lies <there>: it may be calcium",))
    folder.save_findings(found)
    said = browser.get("/studies/1").text
    assert "May look like blood" in said
    assert "lies &lt;there&gt;: it may be calcium" in said
    assert 'data-shown="SUSPECTED"' in said


def test_what_may_look_like_blood_has_a_heading_of_its_own(
    worklist: Worklist, page: TestClient
) -> None:
    quality = Quality(0.9, 9.0, 2, 0, 30, 1.0, 30.0, 0.0, 1400.0, 0.3, 0.1)
    bright = replace(quality, metal_slices=0, vessels_ml=5.0)
    said = [one.sentence for q in (quality, bright) for one in gate(q)]
    study(worklist, 1, ASSEMBLED, replace(NEGATIVE, limitations=tuple(said)))
    html = " ".join(page.get("/studies/1").text.split())
    hints = html.partition("May look like blood")[2].partition("</section>")[0]
    for words in ("metal on 2 slices", "vessels are as bright"):
        assert words in hints
    others = html.partition("<h2>Limitations</h2>")[2].partition("</section>")[0]
    assert "noisy: 9 HU" in others and "noisy" not in hints and "blood" not in others
    study(worklist, 2, ASSEMBLED, NEGATIVE)
    assert "May look like blood" not in page.get("/studies/2").text
