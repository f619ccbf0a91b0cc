"""What the OHIF viewer shows of a report; a black screen says none of it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest

from models.findings import Findings
from models.volume import Volume
from node.case_folder import CaseFolder
from node.cases.report import write_report
from node.outcomes import NotAnalysed
from node.states import Reason
from tests.support.ohif import Viewer, viewer
from tests.support.peers import Orthanc, orthanc
from tests.support.reported import findings, lesion, tilted_volume, write

WHEN = datetime(2026, 11, 20, 22, 30, 15, tzinfo=UTC)
PLUGINS = "/usr/share/orthanc/plugins"
FINE = 4  # times finer than the small series of other tests, for the browser's sake


def fine(array: np.ndarray) -> np.ndarray:
    return array.repeat(FINE, axis=1).repeat(FINE, axis=2)


def head() -> Volume:
    small = tilted_volume()
    return replace(small, hu=fine(small.hu), spacing_mm=(0.6, 0.6))


OUTLINED = findings(fine(lesion()), voxel_ml=0.0247 / FINE**2)
NEGATIVE = findings(np.zeros_like(OUTLINED.mask), suspected=False)
MISSING = NotAnalysed(Reason.MISSING_SLICE, "the slice at 35 mm is missing")


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    with orthanc(folder, Plugins=[PLUGINS], DicomWeb={"Enable": True}) as server:
        yield server


@pytest.fixture(scope="module")
def ohif(pacs: Orthanc) -> Iterator[Viewer]:
    with viewer(pacs) as found:
        yield found


def sent(result: Findings | NotAnalysed, seed: str, pacs: Orthanc, root: Path) -> str:
    """Put a series and its report into the PACS; return its study."""
    plan = write(head(), root, seed)
    write_report(plan, result, CaseFolder(root, "cases/1"), WHEN)
    for path in root.rglob("*.dcm"):
        urlopen(Request(f"{pacs.url}/instances", data=path.read_bytes()), timeout=30).close()
    return plan.study_instance_uid


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize(
    ("result", "said", "slice_shown"),
    [
        (OUTLINED, "Probability, intraparenchymal: 0.91", "I:4 (6/9)"),
        (NEGATIVE, "Probability: 0.03", "I:5 (5/9)"),
        (MISSING, "NOT ANALYSED, read as usual; images received: 9.00", "I:5 (5/9)"),
    ],
    ids=["suspected", "not suspected", "not analysed"],
)
def test_each_report_opens_on_its_slice_with_its_numbers_and_the_plain_one_as_text(
    result: Findings | NotAnalysed,
    said: str,
    slice_shown: str,
    ohif: Viewer,
    pacs: Orthanc,
    tmp_path: Path,
) -> None:
    study = sent(result, said[:20], pacs, tmp_path)
    assert slice_shown in ohif.opened(study, 9902, said)
    assert "RESEARCH USE ONLY" in ohif.opened(study, 9904, "Conclusions")
    assert "FPS" not in ohif.opened(study, 9903, "1/1")  # no cine bar over the words
