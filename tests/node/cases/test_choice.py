"""A study of eight mixed series, pushed in random order over three associations at once."""

import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from typer.testing import CliRunner

from node.cli.app import app
from node.states import Priority, Reason, State
from node.worklist import Worklist
from tests.support.builder import HEAD, Edit, Scan, each, encoded, plus
from tests.support.peers import free_port, storescp, storescu
from tests.support.running import RunningNode, running_node
from training.datasets.series import Identity, write_series
from training.phantoms import phantom

pytestmark = [pytest.mark.peer, pytest.mark.timeout(600)]

IDENTITY = replace(Identity.of("eight series"), series_description="Head 5.0 H30s")
"""Of the series to read: 5 mm, soft kernel, no contrast."""

LOW = HEAD(study=IDENTITY.study_instance_uid, rows=32, columns=32, spacing_mm=(7.0, 7.0))
PHASE = LOW(description="Head 4D 10.0 H20f", gaps_mm=(10.0,) * 8, thickness_mm=10.0)

OTHERS: dict[str, tuple[Scan, tuple[Edit, ...], Reason]] = {
    "localiser": (
        LOW(description="Topogram 0.6 T20f", gaps_mm=(), orientation=(0, 1, 0, 0, 0, -1)).having(
            ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
        ),
        (),
        Reason.LOCALISER,
    ),
    "thin": (
        LOW(description="Head 1.0 H31s", gaps_mm=(1.0,) * 139, thickness_mm=1.0),
        (),
        Reason.OTHER_SERIES_READ,
    ),
    "bone": (LOW(description="Head 5.0 H60s", kernel="H60s"), (), Reason.OTHER_SERIES_READ),
    "angiography": (
        LOW(description="Head CTA 2.0 B20f", gaps_mm=(2.0,) * 49, thickness_mm=2.0).having(
            ContrastBolusAgent="Iomeprol 400"
        ),
        (),
        Reason.CONTRAST,
    ),
    "perfusion": (
        PHASE,
        (
            *(plus(PHASE(acquisition=number)) for number in range(2, 6)),
            each(AcquisitionNumber=lambda _: 1),
        ),
        Reason.OTHER_SERIES_READ,
    ),
    "sagittal": (
        LOW(description="Head MPR sag", orientation=(0, 1, 0, 0, 0, -1)).having(
            ImageType=["DERIVED", "SECONDARY", "MPR"]
        ),
        (),
        Reason.DERIVED,
    ),
    "dose page": (
        LOW(description="Patient Protocol", gaps_mm=()).having(
            ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]
        ),
        (),
        Reason.DERIVED,
    ),
}

SETTINGS = """
[receive]
host = "127.0.0.1"
port = {dicom}
min_free_mb = 64
[web]
port = {web}
[[deliver.destinations]]
name = "pacs"
ae_title = "STORESCP"
host = "127.0.0.1"
port = {pacs}
"""


def write(name: str, folder: Path) -> tuple[str, list[Path]]:
    """Write one of the other series as images of the same patient and study; return its UID."""
    scan, edits, _ = OTHERS[name]
    images = scan(name=name).build()
    for edit in edits:
        images = edit(images)
    paths = []
    for number, ds in enumerate(images):
        ds.StudyInstanceUID = IDENTITY.study_instance_uid
        ds.PatientID, ds.PatientName = IDENTITY.patient_id, IDENTITY.patient_name
        ds.PatientBirthDate, ds.PatientSex = IDENTITY.birth_date, IDENTITY.sex
        ds.AccessionNumber = IDENTITY.accession_number
        paths.append(folder / f"{name} {number:04d}.dcm")
        paths[-1].write_bytes(encoded(ds))
    return str(images[0].SeriesInstanceUID), paths


def push(files: Sequence[Path], port: int) -> None:
    """Send in random order over three associations at once; all must be acknowledged."""
    shuffled = list(files)
    random.Random(20261121).shuffle(shuffled)
    with ThreadPoolExecutor(3) as pool:
        for done in pool.map(lambda part: storescu(part, port), (shuffled[n::3] for n in range(3))):
            assert done.returncode == 0, done.stdout[-2000:]


def finished(node: RunningNode) -> bool:
    """Whether every case of the study is decided, and all that is owed has been sent."""
    with Worklist(node.settings.url) as worklist:
        cases = worklist.views.history(IDENTITY.study_instance_uid)
    done = (State.DELIVERED, State.SKIPPED, State.FAILED)
    return len(cases) >= 8 and all(case.state in done for case in cases)


def ask(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_one_of_eight_mixed_series_is_read_and_explain_says_why(
    networks: Path, tmp_path: Path
) -> None:
    bleeding = phantom(
        49,
        subtypes=("intraparenchymal", "intraventricular"),
        volume_ml={"intraparenchymal": 20.0, "intraventricular": 4.0},
        confounders=("pineal", "choroid"),
    )
    files = write_series(bleeding.volume, tmp_path / "sent", IDENTITY)
    written = {name: write(name, tmp_path / "sent") for name in OTHERS}
    files += [path for _, paths in written.values() for path in paths]
    ports = {"dicom": free_port(), "web": free_port()}
    with storescp(tmp_path / "pacs") as pacs:
        toml = SETTINGS.format(**ports, pacs=pacs.port)
        with running_node(tmp_path / "node", toml, networks) as node:
            node.wait_until_listening()
            push(files, ports["dicom"])
            (row,) = node.wait_for(lambda _: finished(node), 400)
            config = ("--config", str(node.config))
            told = json.loads(ask("explain", IDENTITY.accession_number, "--json", *config))
            replay = ask("replay", str(row.case_id), "--wait", *config)
        received = [dcmread(path) for path in (tmp_path / "pacs").iterdir()]

    assert row.series_instance_uid == IDENTITY.series_instance_uid
    assert row.priority is Priority.SUSPECTED
    assert told["study_instance_uid"] == IDENTITY.study_instance_uid
    reasons = {one["series_instance_uid"]: one["reason_code"] for one in told["series"]}
    assert reasons == {
        IDENTITY.series_instance_uid: None,
        **{written[name][0]: reason for name, (_, _, reason) in OTHERS.items()},
    }
    assert [one["taken"] for one in told["series"]] == [True] + [False] * 7
    states = [one["cases"][-1]["state"] for one in told["series"]]
    assert states == ["DELIVERED"] + ["SKIPPED"] * 7
    lost = {one["series_instance_uid"]: one["lost_to"] for one in told["series"]}
    for name, line in (
        ("thin", "slice thickness nearest to 5 mm"),
        ("bone", "soft-tissue kernel"),
    ):
        assert lost[written[name][0]]["line"] == line
        # The thin series may have been complete first; it lost to the same one in turn.
        better = {IDENTITY.series_instance_uid, written["thin"][0]} - {written[name][0]}
        assert lost[written[name][0]]["to_series"] in better
    assert told["series"][0]["decision"].startswith("series 'Head 5.0 H30s' is read: 32 axial")
    assert told["door_to_flag_s"] > 0

    assert sorted(ds.SOPClassUID for ds in received) == sorted(
        (
            *(SegmentationStorage, Comprehensive3DSRStorage),
            *(BasicTextSRStorage, SecondaryCaptureImageStorage),
        )
    )
    seg = next(ds for ds in received if ds.SOPClassUID == SegmentationStorage)
    (referenced,) = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == IDENTITY.series_instance_uid
    assert f"case {row.case_id} is DELIVERED: same result" in replay.splitlines()
