"""`ichnode archive read`: one study as `ichnode analyse` reads it, its row, its picture."""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydicom import Dataset
from typer.testing import CliRunner

from models.findings import Findings, SliceFinding
from models.volume import Volume
from node.archive.finding import Store
from node.archive.finding.series import FoundSeries
from node.archive.proof import Proof, Pseudonyms
from node.archive.reading import Material, MoveTo, Reading, move_to, reader
from node.archive.reading.orders import Order, orders_of
from node.archive.reading.outcomes import Outcomes, outcome
from node.archive.reading.pictures import picture
from node.archive.reading.retrieval import Retrieval, opener
from node.archive.reading.workers import crew_of
from node.cli import app
from node.cli.analyse import analyse
from node.dicom.net.association import Status
from node.dicom.read.pixels import load_volume
from node.errors import BadConfiguration, Permanent, Retryable
from node.scratch import scratch
from node.settings import Settings, Source
from tests.support.archived import (
    HEADS,
    at_once,
    catalogued,
    images_of,
    predicted,
    write_each,
    write_heads,
)
from tests.support.builder import HEAD, encoded, uid
from tests.support.peers import free_port, orthanc
from tests.support.working import Predictor

WEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
NAMES = Pseudonyms(b"k" * 32)
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)

# --- a study -------------------------------------------------------------------------------------


def objects(name: str) -> tuple[tuple[bytes, tuple[str, str]], ...]:
    return sent(images_of(name))


def sent(images: Sequence[Dataset]) -> tuple[tuple[bytes, tuple[str, str]], ...]:
    return tuple((encoded(ds), (str(ds.SOPClassUID), str(ds.SOPInstanceUID))) for ds in images)


def same(reading: Reading, analysed: dict[str, Any]) -> None:
    """Compare what the two say of a study, to the bit."""
    result = {"SUSPECTED": "SUSPECTED", "NO_FINDING": "NOT_SUSPECTED"}
    assert result.get(reading.result, "NOT_ANALYSED") == analysed["priority"]
    assert reading.reason == (analysed["reason"] or "")
    for name in ("probability", "uncertain", "volume_ml"):
        assert getattr(reading, name) == analysed[name]
    assert list(reading.limitations) == analysed["limitations"]
    assert list(reading.mimics) == analysed["mimics"]
    assert reading.slices == len(analysed["slices"])


def test_a_study_is_read_as_analyse_reads_it(tmp_path: Path) -> None:
    write_heads(tmp_path / "ct", *HEADS)
    with predicted(Settings()) as read:
        results = set()
        for order in orders_of(catalogued(tmp_path / "ct", tmp_path / "proof")):
            reading = read(Material(order.study_instance_uid, order.paths))
            folder = Path(order.paths[0]).parent
            (analysed,) = analyse(folder, Settings(), Predictor)  # type: ignore[arg-type]
            same(reading, analysed)
            results.add(reading.result)
    assert results == {"SUSPECTED", "NO_FINDING", "NOT_ANALYSED"}


def test_a_damaged_file_beside_a_study_counts_as_analyse_counts_it(tmp_path: Path) -> None:
    write_heads(tmp_path / "ct", "plain")
    (tmp_path / "ct" / "plain" / "004.dcm").write_bytes(b"<html>not found</html>")
    (order,) = orders_of(catalogued(tmp_path / "ct", tmp_path / "proof"))
    with predicted(Settings()) as read:
        reading = read(Material(order.study_instance_uid, order.paths))
    (analysed,) = analyse(tmp_path / "ct", Settings(), Predictor)  # type: ignore[arg-type]
    same(reading, analysed)
    assert "1 file of the folder could not be used" in str(reading.limitations)


def test_objects_in_memory_are_read_as_files_are(tmp_path: Path) -> None:
    write_heads(tmp_path / "ct", "bleeds")
    (order,) = orders_of(catalogued(tmp_path / "ct", tmp_path / "proof"))
    with predicted(Settings()) as read:
        of_files = read(Material(order.study_instance_uid, order.paths))
        of_objects = read(Material(order.study_instance_uid, objects=objects("bleeds")))
    assert (of_files.probability, of_files.limitations) == (
        of_objects.probability,
        of_objects.limitations,
    )
    assert of_files.picture == of_objects.picture


def test_objects_that_did_not_come_forbid_to_clear_a_study() -> None:
    with predicted(Settings()) as read:
        whole = read(Material(uid("plain"), objects=objects("plain")))
        part = read(Material(uid("plain"), objects=objects("plain"), lost=2))
    assert whole.result == "NO_FINDING"
    assert part.result == "NOT_ANALYSED" and "could not be used" in part.reason


def test_a_study_without_a_file_failed_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(b"")
    with predicted(Settings()) as read:
        reading = read(Material("1.2.3", (str(tmp_path / "x.dcm"), str(tmp_path / "gone.dcm"))))
    assert reading.result == "FAILED"
    assert reading.reason == "no file of it could be used (2 are damaged)"


def test_a_reading_that_breaks_is_failed_and_the_next_study_is_read() -> None:
    predictor = Predictor()
    predictor.failures = [ValueError("the network broke")]
    with reader(
        Settings(),
        pictures=False,
        detector=lambda: predictor,  # type: ignore[arg-type, return-value]
        decoder=load_volume,
    ) as read:
        broken, whole = (read(Material(uid("bleeds"), objects=objects("bleeds"))) for _ in range(2))
    assert broken.result == "FAILED" and "the network broke" in broken.reason
    assert whole.result == "SUSPECTED" and whole.picture is None


def test_what_a_killed_process_left_is_gone_when_the_next_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch("images-") as living, scratch("images-") as dead:
        left = [dead.with_name(f"{dead.name}-{what}") for what in ("old", "young")]
        for folder in left:  # as a killed process leaves them: nobody holds the lock
            folder.mkdir()
            (folder / "image.dcm").touch()
        for folder in (living, left[0]):
            os.utime(folder, (0, 0))
        with scratch("images-"):
            assert living.exists() and left[1].exists() and not left[0].exists()
    assert list(tmp_path.iterdir()) == [left[1]]


# --- pictures ------------------------------------------------------------------------------------


def volume(slices: int, points: int, *, up: bool = True) -> Volume:
    """Return a volume whose HU are the number of the slice from the feet, times ten."""
    along = np.arange(slices) if up else np.arange(slices)[::-1]
    hu = np.broadcast_to(along[:, None, None] * 10.0, (slices, points, points))
    positions = np.stack([np.zeros(slices), np.zeros(slices), along * 2.0], 1)
    orientation = np.array([1.0, 0, 0, 0, 1.0 if up else -1.0, 0])
    return Volume(hu.astype(np.float32), positions, orientation, (0.5, 0.5))


def findings(of: Volume, key: int) -> Findings:
    mask = np.zeros(of.hu.shape, bool)
    mask[key, 3, 5] = True
    slices = tuple(SliceFinding(float(index == key)) for index in range(len(of.hu)))
    heat = mask.astype(np.uint8)
    return Findings(0.9, True, 0.0, False, 1.0, {}, slices, key, mask, heat, "b@1", "0" * 64)


@pytest.mark.parametrize("up", [True, False])
def test_a_picture_shows_few_slabs_from_the_feet_to_the_head(up: bool) -> None:
    of = volume(130, 8, up=up)
    file, key = picture(of, findings(of, 6))
    with np.load(BytesIO(file)) as held:
        hu, mask, probability = held["hu"], held["mask"], held["probability"]
        assert held["spacing_mm"] == pytest.approx([260 / 44, 0.5, 0.5])
    assert hu.dtype == np.int16 and hu.shape == (44, 8, 8)
    assert np.all(np.diff(hu[:, 0, 0]) > 0)
    assert key is not None
    assert np.argwhere(mask).tolist() == [[key, 3, 5]]
    assert np.flatnonzero(probability).tolist() == [key]
    assert abs(hu[key, 0, 0] - (60 if up else 1230)) <= 15


def test_a_picture_has_no_more_points_than_it_may() -> None:
    of = volume(4, 1030)
    file, key = picture(of, findings(of, 1))
    with np.load(BytesIO(file)) as held:
        assert held["hu"].shape == (4, 343, 343) and held["mask"].shape == (4, 343, 343)
        assert held["spacing_mm"].tolist() == [2.0, 1.5, 1.5]
        assert np.argwhere(held["mask"]).tolist() == [[1, 1, 1]]
    assert key == 1


# --- rows ----------------------------------------------------------------------------------------


def order(name: str) -> Order:
    return Order(NAMES.study(name), "p", "a", name, "folder")


def row(name: str) -> dict[str, Any]:
    reading = Reading("SUSPECTED", probability=0.9, limitations=("thick",), station="CT1")
    return outcome(order(name), reading, NAMES, NOW)


def rows(proof: Proof) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(proof.outcomes).to_pylist()
    return found


@pytest.fixture
def proof(tmp_path: Path) -> Proof:
    found = Proof(tmp_path / "proof")
    found.make()
    return found


def test_a_row_has_pseudonyms_alone(proof: Proof) -> None:
    outcomes = Outcomes(proof)
    outcomes.add(row("1.2.3"))
    outcomes.close()
    (found,) = rows(proof)
    assert found["study"] == NAMES.study("1.2.3") and found["flagged"]
    assert found["read_at"] == NOW and found["limitations"] == ["thick"]
    assert found["scanner"] == NAMES.station("CT1") and "station" not in found


def test_what_failed_names_no_study(proof: Proof) -> None:
    outcomes = Outcomes(proof)
    failed = Reading("FAILED", "pacs has no study 1.2.840.113619.2.55.3")
    outcomes.add(outcome(order("1.2.840.113619.2.55.3"), failed, NAMES, NOW))
    outcomes.close()
    (found,) = rows(proof)
    assert found["reason"] == "pacs has no study (UID)"


def test_what_failed_names_no_file(proof: Proof) -> None:
    outcomes = Outcomes(proof)
    failed = Reading("FAILED", "2 mm/s, no file: '/srv/Wagenknecht Ottilie/1 Otti.dcm'; /a/b.dcm")
    outcomes.add(outcome(order("1.2.3"), failed, NAMES, NOW))
    outcomes.close()
    (found,) = rows(proof)
    assert found["reason"] == "2 mm/s, no file: '(path)'; (path)"


def test_words_of_technicians_name_nobody_in_an_outcome() -> None:
    scan = HEAD(study="named", description="KNEE Wagenknecht").having(
        PatientName="Wagenknecht^Ottilie",
        PatientID="PID-4711",
        ConvolutionKernel="H31s Ottilie",
        ManufacturerModelName="Force PID-4711",
        BodyPartExamined="KNEE WAGENKNECHT",
    )
    with predicted(Settings()) as read:
        reading = read(Material(uid("named"), objects=sent(scan.build())))
    assert (reading.kernel, reading.model) == ("H31s …", "Force …")
    told = str(reading).casefold()
    assert not any(secret in told for secret in ("wagenknecht", "ottilie", "pid-4711"))


def test_a_file_of_rows_never_takes_the_place_of_another(proof: Proof) -> None:
    for name in "abc":
        outcomes = Outcomes(proof)
        outcomes.add(row(name))
        outcomes.close()
    (proof.outcomes / "00000001.parquet").unlink()
    outcomes = Outcomes(proof)
    outcomes.add(row("d"))
    outcomes.close()
    assert sorted(one["study"] for one in rows(proof)) == sorted(map(NAMES.study, "bcd"))


def test_rows_of_some_results_are_taken_away_and_all_others_stay(proof: Proof) -> None:
    failed = {name: {**row(name), "result": "FAILED"} for name in "bc"}
    for names in ("ab", "c", "d"):
        outcomes = Outcomes(proof)
        for name in names:
            outcomes.add(failed.get(name, row(name)))
        outcomes.close()
    outcomes = Outcomes(proof)
    outcomes.forget({"FAILED", "KILLED"})
    assert outcomes.done == set(map(NAMES.study, "ad"))
    assert sorted(one["study"] for one in rows(proof)) == sorted(map(NAMES.study, "ad"))
    outcomes.add(row("b"))
    outcomes.close()
    assert sorted(one["study"] for one in rows(proof)) == sorted(map(NAMES.study, "abd"))


class Machines:
    """A cluster of machines with these resources."""

    def __init__(self, *resources: dict[str, float]) -> None:
        self._nodes = [{"Alive": True, "Resources": each} for each in resources]

    def nodes(self) -> list[dict[str, Any]]:
        return self._nodes


@pytest.mark.parametrize(
    ("machines", "workers", "gpus", "crew"),
    [
        (Machines({"CPU": 8}), 0, 0.0, (1, 8)),
        (Machines({"CPU": 8}), 3, 0.0, (3, 2)),
        (Machines({"CPU": 8}, {"CPU": 4}), 0, 0.0, (2, 4)),
        (Machines({"CPU": 8, "GPU": 1}, {}), 4, 0.25, (4, 2)),
    ],
)
def test_workers_share_the_cores_of_their_machines(
    machines: Machines, workers: int, gpus: float, crew: tuple[int, int]
) -> None:
    found = crew_of(machines, workers, gpus)
    assert (found.workers, found.cores) == crew


@pytest.mark.parametrize(
    ("workers", "gpus", "message"),
    [(3, 0.0, "3 workers, and 2 cores"), (2, 0.5, "0 workers find 0.5 of a GPU, not 2")],
)
def test_workers_without_room_are_an_error_and_no_endless_wait(
    workers: int, gpus: float, message: str
) -> None:
    with pytest.raises(BadConfiguration, match=message):
        crew_of(Machines({"CPU": 2}), workers, gpus)


def test_a_row_is_in_the_journal_when_its_study_is_done(proof: Proof) -> None:
    outcomes = Outcomes(proof)
    outcomes.add(row("a"))
    written = (proof.outcomes / "_journal.jsonl").read_text()
    assert json.loads(written)["study"] == NAMES.study("a") and written.endswith("\n")
    assert not list(proof.outcomes.glob("*.parquet"))
    outcomes.close()
    assert [one.name for one in proof.outcomes.iterdir()] == ["00000001.parquet"]


def test_rows_of_a_killed_process_are_kept_and_stand_once(proof: Proof) -> None:
    journal = proof.outcomes / "_journal.jsonl"
    lines = "".join(json.dumps(row(name)) + "\n" for name in "abc")
    journal.parent.mkdir()
    journal.write_text(lines)
    again = Outcomes(proof)
    assert again.done == {NAMES.study(name) for name in "abc"}
    again.close()
    journal.write_text(lines)  # killed after the file, before this
    last = Outcomes(proof)
    last.add(row("d"))
    last.close()
    assert sorted(one["study"] for one in rows(proof)) == sorted(map(NAMES.study, "abcd"))


def test_a_row_that_was_cut_short_is_no_row(proof: Proof) -> None:
    proof.outcomes.mkdir()
    lines = json.dumps(row("a")) + "\n" + json.dumps(row("b"))[:40]
    (proof.outcomes / "_journal.jsonl").write_text(lines)
    again = Outcomes(proof)
    again.close()
    assert [one["study"] for one in rows(proof)] == [NAMES.study("a")]


def test_two_readings_at_once_do_not_work_on_one_proof(proof: Proof) -> None:
    outcomes = Outcomes(proof)
    with pytest.raises(BadConfiguration, match="another ichnode archive read"):
        Outcomes(proof)
    outcomes.close()


def test_a_proof_without_a_catalogue_says_what_makes_one(proof: Proof) -> None:
    with pytest.raises(BadConfiguration, match="ichnode archive find makes one"):
        orders_of(proof)


# --- retrieval -----------------------------------------------------------------------------------

SOURCE = Source(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)


class Pacs:
    """An archive of one study of three objects, which fails as it is told."""

    def __init__(self) -> None:
        self.gives = [3]
        self.opened = 0
        self.down = False

    def modalities(self, study: str) -> dict[str, str]:
        return {"1.1": "CT"} if study == "1.2" else {}

    def images(self, _study: str, _series: str) -> dict[str, str]:
        return {f"1.1.{number}": "1.2.840.10008.5.1.4.1.1.2" for number in range(3)}

    def fetch(self, _study: str, _series: str, _images: object = ()) -> Iterator[int]:
        gives = self.gives.pop(0)
        for number in range(gives):
            assert self.take(b"file", ("1.2", f"1.1.{number}")) is Status.SUCCESS
            yield number + 1
        if gives < 3:
            raise Retryable("pacs: the association has ended")

    @contextmanager
    def open(self, take: Any) -> Iterator["Pacs"]:
        if self.down:
            raise Retryable("pacs: no connection")
        self.opened += 1
        self.take = take
        yield self


def retrieval(pacs: Pacs) -> Retrieval:
    return Retrieval(SOURCE, pacs.open, at_once(), sleep=lambda _: None)  # type: ignore[arg-type]


def test_one_association_brings_many_studies() -> None:
    pacs = Pacs()
    pacs.gives = [3, 3]
    getting = retrieval(pacs)
    assert [len(getting.get("1.2").objects) for _ in range(2)] == [3, 3]
    assert pacs.opened == 1


def test_a_study_that_came_in_part_is_asked_for_again() -> None:
    pacs = Pacs()
    pacs.gives = [1, 3]
    material = retrieval(pacs).get("1.2")
    assert (len(material.objects), material.lost, pacs.opened) == (3, 0, 2)


def test_what_never_comes_is_counted() -> None:
    pacs = Pacs()
    pacs.gives = [1, 2, 2]
    material = retrieval(pacs).get("1.2")
    assert (len(material.objects), material.lost) == (2, 1)


def test_a_server_that_is_down_is_no_result_of_a_study() -> None:
    pacs = Pacs()
    pacs.down = True
    with pytest.raises(Retryable, match="no connection"):
        retrieval(pacs).get("1.2")


def test_a_study_that_a_server_lacks_is_one() -> None:
    with pytest.raises(Permanent, match="has no study"):
        retrieval(Pacs()).get("1.3")


def test_an_archive_is_not_moved_into_the_running_node() -> None:
    with pytest.raises(BadConfiguration, match="--move-to AE_TITLE:PORT says where to"):
        opener(SOURCE.model_copy(update={"how": "move"}), Settings())


@pytest.mark.parametrize("text", ["PROOF", "PROOF:0", "PROOF:70000", "A_TITLE_THAT_IS_TOO_LONG:1"])
def test_where_a_server_sends_to_is_an_ae_title_and_a_port(text: str) -> None:
    with pytest.raises(BadConfiguration, match="is no AE title and port"):
        move_to(text)


@pytest.mark.peer
@pytest.mark.parametrize("how", ["get", "move", "web"])
def test_a_study_of_orthanc_is_read_as_its_files_are(tmp_path: Path, how: str) -> None:
    options = {"Plugins": [WEB], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}}
    to = MoveTo("PROOF", free_port())
    allowed = {
        **{f"DicomAlwaysAllow{what}": True for what in ("Find", "Get", "Move")},
        "DicomModalities": {"proof": [to.ae_title, "127.0.0.1", to.port]},
    }
    with orthanc(tmp_path / "pacs", **allowed, **options) as pacs:
        for file, _ in objects("bleeds"):
            urlopen(Request(f"{pacs.url}/instances", data=file), timeout=30).close()
        web = {"url": f"{pacs.url}/dicom-web"}
        dimse = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs.port}
        source = Source(name="pacs", how=how, **(web if how == "web" else dimse))  # type: ignore[arg-type]
        getting = Retrieval(source, opener(source, Settings(), to), at_once())
        material = getting.get(uid("bleeds"))
        getting.close()
    assert len(material.objects) == 30 and material.seconds_retrieve > 0
    with predicted(Settings()) as read:
        retrieved = read(material)
        of_files = read(Material(uid("bleeds"), objects=objects("bleeds")))
    assert retrieved.result == "SUSPECTED" and retrieved.picture == of_files.picture
    assert (retrieved.probability, retrieved.limitations) == (
        of_files.probability,
        of_files.limitations,
    )


# --- the command ---------------------------------------------------------------------------------


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["archive", "read", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def test_a_folder_that_is_no_proof_is_one_line(tmp_path: Path) -> None:
    code, _, said = run(tmp_path)
    assert code == 2 and "is no proof" in said


def test_a_proof_that_is_read_to_its_end_needs_no_ray(tmp_path: Path) -> None:
    write_heads(tmp_path / "ct", "short")
    proof = catalogued(tmp_path / "ct", tmp_path / "proof")
    outcomes = Outcomes(proof)
    outcomes.add(row(uid("short")) | {"study": proof.pseudonyms().study(uid("short"))})
    outcomes.close()
    code, said, _ = run(proof.root)
    assert (code, said) == (0, "no study left to read; read before: 1\n")
    code, said, _ = run(proof.root, "--json")
    assert json.loads(said) == {"total": 0, "before": 1, "read": 0, "results": {}}


def test_a_catalogue_without_a_study_to_read_is_an_error(tmp_path: Path) -> None:
    knee = HEAD(description="Knie 2.0").having(BodyPartExamined="KNEE")
    write_each(tmp_path / "ct", {"knee": knee.build()})
    proof = catalogued(tmp_path / "ct", tmp_path / "proof")
    code, _, said = run(proof.root)
    assert code == 2 and "catalogue.parquet has no study that is taken" in said


def test_where_no_ray_answers_is_said_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    write_heads(tmp_path / "ct", "short")
    proof = catalogued(tmp_path / "ct", tmp_path / "proof")
    code, _, said = run(proof.root, "--address", "127.0.0.1:1")
    assert code == 2 and "no Ray at 127.0.0.1:1 " in said
    assert len(orders_of(proof)) == 1


def test_a_temporary_folder_too_deep_for_ray_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "a-folder-whose-name-is-long" / "and-another-one-that-is-as-long"
    deep.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    write_heads(tmp_path / "ct", "short")
    proof = catalogued(tmp_path / "ct", tmp_path / "proof")
    code, _, said = run(proof.root)
    assert code == 2 and "set TMPDIR to a shorter one" in said


def test_a_source_that_the_settings_no_longer_have_is_told(tmp_path: Path) -> None:
    proof = Proof(tmp_path / "proof")
    store = Store(proof)
    store.add("day", [FoundSeries("1.2", "1.2.1", "oldpacs", taken=True)])
    store.write_catalogue(lambda found: found[0])
    store.close()
    code, _, said = run(proof.root)
    assert code == 2 and "'oldpacs' is neither" in said
