"""`ichnode archive export`: nothing in it says who anybody is, and the images are the same."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataelem import DataElement
from typer.testing import CliRunner

from models.faces import without_face
from models.preprocess import Canvas
from node.archive.adjudication.decisions import Answer, Decision, append
from node.archive.corridor import case_folder, read
from node.archive.exporting import write_export
from node.archive.exporting.truth import COLUMNS
from node.archive.finding import Gentle, Hours
from node.archive.proof import Proof
from node.archive.reading import File, Material, Plan, filer, orders_of
from node.archive.reading.outcomes import Outcomes, outcome
from node.cli import app
from node.cli.analyse import analyse
from node.clock import utc_now
from node.dicom.read.makers import made_by
from node.dicom.read.pixels import load_volume
from node.errors import Outage, Permanent
from node.settings import Settings
from node.wording import RESEARCH_USE_ONLY
from tests.support.archived import catalogued, images_of, predicted, write_each
from tests.support.builder import HEAD, INTERCEPT
from tests.support.disks import small_disk
from tests.support.working import Predictor

PLAN = Plan("", 1, 0.0, False, Gentle(1e6, Hours(), sleep=lambda _: None))
SECRET = "Zzyzx"
"""Stands wherever a header may say who somebody is."""


class Asked(Predictor):
    """Counts the studies that its networks were asked about."""

    studies = 0

    def infer(self, _: Canvas) -> None:
        self.studies += 1


@contextmanager
def files(predictor: Predictor) -> Iterator[File]:
    """File studies on a node without networks."""
    with filer(
        Settings(),
        detector=lambda: predictor,  # type: ignore[arg-type, return-value]
        decoder=load_volume,
    ) as file:
        yield file


def planted(ds: Dataset) -> Dataset:
    """Put the secret into every attribute that may hold text, into private ones and the pixels."""
    ds.PatientName, ds.PatientID = f"{SECRET}^Jane", f"{SECRET}7"
    ds.OtherPatientNames, ds.ReferringPhysicianName = f"{SECRET}^J", f"{SECRET}^Ref"
    for name in (
        *("InstitutionName", "StationName", "StudyDescription", "SeriesDescription", "StudyID"),
        *("ImageComments", "PatientComments", "ProtocolName", "RequestedProcedureDescription"),
        *("Manufacturer", "ManufacturerModelName", "ConvolutionKernel", "SoftwareVersions"),
    ):
        setattr(ds, name, f"{SECRET} {name}"[:16])
    ds.PatientBirthDate, ds.StudyDate, ds.PatientAge = "19470203", "20261120", "079Y"
    item = Dataset()
    item.PatientID, item.PatientName = SECRET, f"{SECRET}^Other"
    ds.OtherPatientIDsSequence = [item]
    ds.add(DataElement(0x00091001, "LO", SECRET))
    stored = stored_values(ds)
    stored[0, :9] = 900 - INTERCEPT  # text, burned in beside the head
    ds.PixelData = stored.tobytes()
    return ds


def stored_values(ds: Dataset) -> np.ndarray:
    return np.frombuffer(ds.PixelData, np.uint16).reshape(ds.Rows, ds.Columns).copy()


def decided(proof: Proof, answers: dict[str, Answer]) -> None:
    """Have two people say the same of each study."""
    append(
        proof.decisions,
        [
            Decision(
                *(f"{who} {study}", study, who, "2026-11-30T12:00:00+00:00", answer),
                *(("subdural",) if answer is Answer.BLEEDS else (), True, f"{SECRET} again", "x"),
            )
            for study, answer in answers.items()
            for who in (f"Dr {SECRET}", "B")
        ],
    )


def proof_of(tmp_path: Path, studies: dict[str, list[Dataset]], settle: int | None = None) -> Proof:
    """Find, read and settle these studies."""
    write_each(tmp_path / "ct", studies)
    proof = catalogued(tmp_path / "ct", tmp_path / "proof")
    names, todo = proof.pseudonyms(), orders_of(proof)
    outcomes = Outcomes(proof)
    with predicted(Settings()) as analysed:
        for order in todo:
            found = analysed(Material(order.study_instance_uid, order.paths))
            outcomes.add(outcome(order, found, names, utc_now()))
    outcomes.close()
    decided(proof, {order.study: Answer.BLEEDS for order in todo[:settle]})
    return proof


def exported(
    proof: Proof, out: Path, *, faces: bool = False, predictor: Predictor | None = None
) -> list[Path]:
    make = partial(files, predictor or Predictor())
    *_, _ = write_export(proof, out, Settings(), PLAN, faces=faces, make=make)
    return sorted(out.rglob("*.dcm"))


def everything(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_nothing_that_is_exported_says_who_anybody_is(tmp_path: Path) -> None:
    source = [planted(ds) for ds in images_of("bleeds")]
    proof = proof_of(tmp_path, {"bleeds": source})
    files = exported(proof, tmp_path / "out")
    assert len(files) == len(source)
    told = everything(tmp_path / "out").lower()
    for name in (
        SECRET,
        "19470203",
        "20261120",
        "079y",
        *(str(ds.SOPInstanceUID) for ds in source),
    ):
        assert name.lower().encode() not in told
    for shared in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert str(getattr(source[0], shared)).encode() not in told
    for file in files:
        ds = dcmread(file)
        assert not [each for each in ds.iterall() if each.tag.is_private]
        assert (ds.pixel_array[0, :9] + INTERCEPT == -1000).all(), "burned-in text is gone"
        assert ds.PatientIdentityRemoved == "YES"
        codes = [one.CodeValue for one in ds.DeidentificationMethodCodeSequence]
        assert codes == ["113100", "113101", "113102"]


def test_the_brain_and_its_place_are_as_they_were(tmp_path: Path) -> None:
    source = {float(ds.ImagePositionPatient[2]): ds for ds in images_of("bleeds")}
    files = exported(proof_of(tmp_path, {"bleeds": images_of("bleeds")}), tmp_path / "out")
    for file in files:
        ds = dcmread(file)
        before = source[float(ds.ImagePositionPatient[2])]
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            assert np.allclose(getattr(ds, name), getattr(before, name), atol=1e-4)
        hu = ds.pixel_array + int(ds.RescaleIntercept)
        old = stored_values(before).astype(int) + INTERCEPT
        kept = hu != -1000
        assert np.array_equal(hu[kept], old[kept])
    (before,) = analyse(tmp_path / "ct", Settings(), Predictor)  # type: ignore[arg-type]
    (after,) = analyse(tmp_path / "out" / "images", Settings(), Predictor)  # type: ignore[arg-type]
    assert after["priority"] == before["priority"] == "SUSPECTED"
    assert after["volume_ml"] == pytest.approx(before["volume_ml"])


def test_an_export_with_faces_says_so_and_is_not_mixed_with_one_without(tmp_path: Path) -> None:
    proof = proof_of(tmp_path, {"bleeds": images_of("bleeds")})
    file, *_ = exported(proof, tmp_path / "out", faces=True)
    assert dcmread(file).RecognizableVisualFeatures == "YES"
    assert "FACES ARE NOT REMOVED" in (tmp_path / "out" / "README.txt").read_text()
    with pytest.raises(Permanent, match="another export"):
        exported(proof, tmp_path / "out")


def test_the_table_has_what_people_said_and_a_further_call_writes_only_what_is_missing(
    tmp_path: Path,
) -> None:
    heads = {name: images_of(name) for name in ("bleeds", "plain", "short")}
    proof = proof_of(tmp_path, heads)
    first = exported(proof, tmp_path / "out")
    written = {file: file.stat().st_mtime_ns for file in first}
    gone = first[0].parent
    for file in gone.iterdir():
        file.unlink()
    gone.rmdir()
    again = exported(proof, tmp_path / "out")
    assert again == first
    assert {file.parent for file in again if file.stat().st_mtime_ns != written[file]} == {gone}
    with (tmp_path / "out" / "truth.csv").open(encoding="utf-8-sig") as opened:
        rows = list(csv.DictReader(opened))
    assert tuple(rows[0]) == COLUMNS
    assert {row["result"] for row in rows} == {"SUSPECTED", "NO_FINDING", "NOT_ANALYSED"}
    for row in rows:
        assert (row["bleeds"], row["people"], row["subtypes"]) == ("1", "2", "subdural")
        assert bool(int(row["images"])) is (row["why_not"] == "")


def test_networks_are_asked_only_where_they_say_which_images_speak_for_a_study(
    tmp_path: Path,
) -> None:
    thin = HEAD(study="plain", name="thin", gaps_mm=(2.0,) * 74, thickness_mm=2.0)
    morning = {"AcquisitionDate": "20260115", "AcquisitionTime": "083000"}
    first, later = (HEAD(study="twice", name=name).having(**morning) for name in ("a", "b"))
    later = later.having(AcquisitionTime="143000")
    heads = {
        "bleeds": images_of("bleeds"),
        "plain": [*images_of("plain"), *thin.having(AccessionNumber="A2").build()],
        "twice": [*first.build(), *later.build()],
    }
    asked = Asked()
    proof = proof_of(tmp_path, heads)
    exported(proof, tmp_path / "out", predictor=asked)
    assert asked.studies == 2, "the two scans of one study"
    before = {file.name: read_apart(proof, file.name) for file in images(tmp_path / "out")}
    assert {file.name: pixels_of(file) for file in images(tmp_path / "out")} == before


def images(out: Path) -> list[Path]:
    """Return the folder of each study."""
    return sorted((out / "images").iterdir())


def pixels_of(folder: Path) -> list[bytes]:
    return [dcmread(file).PixelData for file in sorted(folder.glob("*.dcm"))]


def read_apart(proof: Proof, study: str) -> list[bytes]:
    """Return the stored values of the images that a reading chooses, without their faces."""
    (order,) = (one for one in orders_of(proof) if one.study == study)
    with files(Predictor()) as file, file(Material(order.study_instance_uid, order.paths)) as filed:
        node = filed.node
        row = read(order.study_instance_uid, node, lambda _: None)
        plan = case_folder(row, node).require_plan_as_read()
        volume = node.decode(plan, node.root)
        hu = without_face(volume, *node.detector().preprocess(volume))
    return [plane.tobytes() for plane in (hu - INTERCEPT).astype("<i2")]


def test_a_full_disk_is_told_and_the_export_goes_on_where_it_was(tmp_path: Path) -> None:
    proof = proof_of(tmp_path, {name: images_of(name) for name in ("bleeds", "plain")})
    with small_disk(tmp_path / "disk") as disk:
        out = disk.folder / "out"
        make = partial(files, Predictor())
        steps = write_export(proof, out, Settings(), PLAN, make=make)
        next(steps)
        (first,) = images(out)
        disk.fill()
        with pytest.raises(Outage, match=r"No space left.*the same command goes on"):
            next(steps)
        assert images(out) == [first], "nothing of the other study is left"
        disk.empty()
        asked = [step.before for step in write_export(proof, out, Settings(), PLAN, make=make)]
        assert asked[0] == 1
        assert len(images(out)) == 2 and (out / "truth.csv").exists()


def test_a_disk_that_takes_nothing_and_a_place_that_is_taken_are_told(tmp_path: Path) -> None:
    proof = proof_of(tmp_path, {"plain": images_of("plain")})
    with small_disk(tmp_path / "disk") as disk:
        disk.forbid_writing()
        with pytest.raises(Outage, match=r"disk/out\): Read-only file system"):
            exported(proof, disk.folder / "out")
    (tmp_path / "a file").write_text("")
    with pytest.raises(Permanent, match="a file is no folder"):
        exported(proof, tmp_path / "a file")
    mode = proof.root.stat().st_mode
    with pytest.raises(Permanent, match="holds other files and no export"):
        exported(proof, proof.root)
    assert proof.root.stat().st_mode == mode and not (proof.root / "README.txt").exists()


def test_the_command_says_how_far_it_is_and_nothing_of_the_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = proof_of(tmp_path, {"plain": images_of("plain")})
    monkeypatch.setattr("node.archive.exporting.export.filer", lambda _: files(Predictor()))
    config = tmp_path / "ichnode.toml"
    config.write_text(f'data_dir = "{tmp_path}"\n[log]\nlevel = "info"\n')
    words = ["archive", "export", str(proof.root), str(tmp_path / "out"), "-c", str(config)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert [line for line in done.stderr.splitlines() if line] == [
        RESEARCH_USE_ONLY,
        "1 of 1 studies",
    ]


def test_without_a_settled_study_the_command_says_what_to_do(tmp_path: Path) -> None:
    proof = proof_of(tmp_path, {"plain": images_of("plain")}, settle=0)
    done = CliRunner().invoke(app, ["archive", "export", str(proof.root), str(tmp_path / "out")])
    assert done.exit_code != 0
    assert "ichnode archive adjudicate" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("word", "kept"),
    [("Hr40f\\3", ""), ("H30s", "H30s"), ("GE <b>", ""), ("DOE head", ""), ("A123", "")],
)
def test_what_made_the_images_is_handed_on_unless_it_names_somebody(word: str, kept: str) -> None:
    ds = Dataset()
    ds.PatientName, ds.AccessionNumber, ds.ConvolutionKernel = "Doe^Jane", "A123", word
    assert made_by(ds, "ConvolutionKernel") == kept
