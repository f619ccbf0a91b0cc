"""`ichnode analyse` names what could not be used, and yields studies as they are done."""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import MRImageStorage
from typer.testing import CliRunner

from node.cli import app
from node.cli.analyse import analyse
from node.dicom.read.pixels import load_volume
from node.settings import Settings
from node.states import Priority
from tests.support import ROOT
from tests.support.builder import HEAD, Scan, encoded, uid
from tests.support.peers import ct_series
from tests.support.working import Predictor

FEW = HEAD(gaps_mm=(15.0,) * 9)


@pytest.fixture(autouse=True)
def predictor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Predictor:
    """The predictor that the command loads; pixels are decoded in this process, which is faster."""
    found = Predictor()
    monkeypatch.setattr("node.cli.analyse.decoding_process", lambda _: nullcontext(load_volume))
    monkeypatch.setattr("node.cases.detector.load_detector", lambda _: found)
    monkeypatch.setenv("ICHNODE_DATA_DIR", str(tmp_path / "data"))
    return found


def write(folder: Path, *scans: Scan, name: str = "{}.dcm") -> list[Path]:
    folder.mkdir(exist_ok=True)
    images: list[Dataset] = [ds for scan in scans for ds in scan.build()]
    paths = [folder / name.format(f"{number:04}") for number in range(len(images))]
    for path, ds in zip(paths, images, strict=True):
        path.write_bytes(encoded(ds))
    return paths


def run(*arguments: object) -> tuple[int, list[dict[str, Any]], str]:
    done = CliRunner().invoke(app, ["analyse", "--json", *map(str, arguments)])
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


# --- what could not be used ----------------------------------------------------------------------


def test_a_folder_that_was_used_whole_leaves_with_0(tmp_path: Path) -> None:
    write(tmp_path / "ct", FEW)
    (tmp_path / "ct" / "README").write_text("no DICOM")
    (tmp_path / "ct" / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "ct" / "empty").touch()
    mr = FEW(name="mr", gaps_mm=()).having(SOPClassUID=MRImageStorage, Modality="MR")
    (tmp_path / "ct" / "mr").write_bytes(encoded(mr.build()[0]))
    code, (study,), said = run(tmp_path / "ct")
    assert code == 0 and study["priority"] == "SUSPECTED"
    assert "could not be used" not in str(study["limitations"])
    assert "README is left out: no DICOM file" in said


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("{}.dcm", lambda file: file.write_bytes(b"")),
        ("IM{}", lambda file: file.write_bytes(file.read_bytes()[:100])),
        ("1.2.840.{}", lambda file: file.write_bytes(file.read_bytes()[:300])),
        ("{}.IMA", lambda file: file.write_bytes(b"<html>not found</html>")),
    ],
    ids=["emptied", "cut in the preamble", "cut in the header", "an error page"],
)
def test_a_file_that_should_have_been_an_image_is_a_fault_and_a_limitation(
    tmp_path: Path, name: str, harm: Callable[[Path], object]
) -> None:
    files = write(tmp_path / "ct", FEW, name=name)
    harm(files[-1])
    code, (study,), said = run(tmp_path / "ct")
    assert code == 1 and f"{files[-1].name} is left out: " in said
    lost = "1 file of the folder could not be used: this study may be incomplete"
    assert lost in study["limitations"]
    assert study["priority"] != Priority.NOT_SUSPECTED


def test_a_folder_of_nothing_but_damage_names_it_and_leaves_with_1(tmp_path: Path) -> None:
    (file, *_) = write(tmp_path / "ct", FEW(gaps_mm=()))
    file.write_bytes(file.read_bytes()[:300])
    code, studies, said = run(tmp_path / "ct")
    assert (code, studies) == (1, []) and "0000.dcm is left out" in said


def test_objects_of_another_patient_under_a_study_are_a_fault(tmp_path: Path) -> None:
    write(tmp_path / "ct", FEW, FEW(name="other", patient="P2", gaps_mm=()))
    code, _, said = run(tmp_path / "ct")
    assert code == 1 and "0010.dcm is left out: study has another patient" in said


def test_a_reading_that_failed_is_a_fault(predictor: Predictor, tmp_path: Path) -> None:
    write(tmp_path / "ct", FEW)
    predictor.failures = [ValueError("the network broke")]
    code, (study,), said = run(tmp_path / "ct")
    assert code == 1 and study["priority"] == "NOT_ANALYSED"
    assert f"study {uid('study')}" in said and "ValueError: the network broke" in said


def test_a_report_that_failed_is_a_fault_though_the_study_is_suspected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("node.cases.pipeline.write_report", fail)
    write(tmp_path / "ct", FEW)
    code, (study,), said = run(tmp_path / "ct", "--out", tmp_path / "out")
    assert code == 1 and study["priority"] == "SUSPECTED"
    assert "no report was written: OSError: no space" in said


def test_a_series_that_failed_is_a_fault_though_another_speaks_for_the_study(
    predictor: Predictor, tmp_path: Path
) -> None:
    write(tmp_path / "ct", FEW, FEW(study="another").having(AccessionNumber="A2"))
    predictor.failures = [ValueError("the network broke")]
    code, studies, said = run(tmp_path / "ct")
    assert code == 1 and len(studies) == 2
    assert said.count("no report was written") == 1


def test_what_a_file_is_called_and_says_is_no_control_sequence(tmp_path: Path) -> None:
    write(tmp_path / "ct", FEW)
    (tmp_path / "ct" / "[z]\x1b[2J\n.dcm").touch()
    code, _, said = run(tmp_path / "ct")
    assert code == 1 and "[z]␛[2J␊.dcm is left out: empty" in said and "\x1b[2J" not in said


# --- the output ----------------------------------------------------------------------------------


def test_each_study_comes_as_soon_as_it_is_done(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    write(tmp_path / "ct", *(FEW(study=name).having(AccessionNumber=name) for name in names))
    predictor = Predictor()
    read: list[int] = []
    for _ in analyse(tmp_path / "ct", Settings(), lambda: predictor):  # type: ignore[arg-type]
        read.append(len(predictor.read_volumes))
    assert read == [1, 2, 3]


def test_the_object_of_a_study_is_documented(tmp_path: Path) -> None:
    write(tmp_path / "ct", FEW(thickness_mm=None))
    (study,) = analyse(tmp_path / "ct", Settings(), Predictor)  # type: ignore[arg-type]
    assert json.loads(json.dumps(study)) == study
    assert study["limitations"] == list(study["limitations"]) and "case_id" not in study
    documented = (ROOT / "docs" / "json.md").read_text()
    assert [key for key in (*study, *study["slices"][0]) if f"`{key}`" not in documented] == []


def names(lines: Sequence[str]) -> list[str]:
    return [line.partition(" is left out")[0] for line in lines if "left out" in line]


def test_a_medium_that_lacks_a_listed_file_is_a_fault(tmp_path: Path) -> None:
    from pydicom.fileset import FileSet

    files = FileSet()
    for path in ct_series(tmp_path / "source"):
        files.add(path)
    files.write(tmp_path / "cds" / "1")
    files._stage["t"].cleanup()
    lost, cut, *_ = sorted(p for p in (tmp_path / "cds").rglob("*") if p.name.startswith("IM"))
    lost.unlink()
    cut.write_bytes(b"")
    for folder in (tmp_path / "cds" / "1", tmp_path / "cds"):
        blamed: list[str] = []
        list(analyse(folder, Settings(), Predictor, blame=blamed.append))  # type: ignore[arg-type]
        assert len(names(blamed)) == 2
        assert "missing: the DICOMDIR lists it" in str(blamed)
        assert "empty, though it is listed" in str(blamed)
