"""`ichnode archive export`: nothing in it says who anybody is, and the images are the same."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataelem import DataElement
from typer.testing import CliRunner

from node.archive.adjudication.decisions import Answer, Decision, append
from node.archive.exporting import write_export
from node.archive.exporting.truth import COLUMNS
from node.archive.finding import Gentle, Hours
from node.archive.proof import Proof
from node.archive.reading import Also, Material, Plan, Read, orders_of, reader
from node.archive.reading.outcomes import Outcomes, outcome
from node.cli import app
from node.cli.analyse import analyse
from node.clock import utc_now
from node.dicom.read.makers import made_by
from node.dicom.read.pixels import load_volume
from node.errors import Permanent
from node.settings import Settings
from tests.support.archived import catalogued, images_of, predicted, write_each
from tests.support.builder import INTERCEPT
from tests.support.working import Predictor

PLAN = Plan("", 1, 0.0, False, Gentle(1e6, Hours(), sleep=lambda _: None))
SECRET = "Zzyzx"
"""Stands wherever a header may say who somebody is."""


@contextmanager
def unread(also: Also) -> Iterator[Read]:
    """Read without networks."""
    predictor = Predictor()
    with reader(
        Settings(),
        pictures=False,
        detector=lambda: predictor,  # type: ignore[arg-type, return-value]
        decoder=load_volume,
        also=also,
    ) as read:
        yield read


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
    with predicted(Settings()) as read:
        for order in todo:
            found = read(Material(order.study_instance_uid, order.paths))
            outcomes.add(outcome(order, found, names, utc_now()))
    outcomes.close()
    decided(proof, {order.study: Answer.BLEEDS for order in todo[:settle]})
    return proof


def exported(proof: Proof, out: Path, *, faces: bool = False) -> list[Path]:
    *_, _ = write_export(proof, out, Settings(), PLAN, faces=faces, make=unread)
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
