"""Hounsfield values from every transfer syntax, and refusals instead of guesses."""

import subprocess
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from models.detector import Detector
from models.findings import Findings
from models.volume import Volume
from node.case_folder import CaseFolder
from node.cases.triage import triage
from node.dicom.net.association import ACCEPTED_TRANSFER_SYNTAXES
from node.dicom.read.damage import Damaged
from node.dicom.read.pixels import load_volume
from node.errors import Refused
from node.outcomes import Outcome
from node.records import SeriesPlan, SliceRef
from node.states import Reason
from tests.conftest import require_program
from tests.support import ROOT
from tests.support.builder import HEAD, Scan, alone, encoded, store

SMALL = HEAD(gaps_mm=(10.0,) * 14, thickness_mm=10.0)
SIGNED, UNSIGNED = SMALL, SMALL(signed=False, bits_stored=12)

DCMTK = {
    "1.2.840.10008.1.2": ("dcmconv", "+ti"),
    "1.2.840.10008.1.2.1": ("dcmconv", "+te"),
    "1.2.840.10008.1.2.2": ("dcmconv", "+tb"),
    "1.2.840.10008.1.2.4.51": ("dcmcjpeg", "+ee", "+q", "100"),
    "1.2.840.10008.1.2.4.57": ("dcmcjpeg", "+el"),
    "1.2.840.10008.1.2.4.70": ("dcmcjpeg", "+e1"),
    "1.2.840.10008.1.2.4.80": ("dcmcjpls", "+el"),
    "1.2.840.10008.1.2.4.81": ("dcmcjpls", "+en", "+md", "2"),
    "1.2.840.10008.1.2.5": ("dcmcrle",),
}
PYDICOM = (RLELossless, JPEGLSLossless, JPEGLSNearLossless, JPEG2000Lossless, JPEG2000)
WITHIN_HU = {JPEGLSNearLossless: 2.0, JPEG2000: 40.0, UID("1.2.840.10008.1.2.4.51"): 8.0}
EIGHT_BIT = "1.2.840.10008.1.2.4.50"
LOSSY = "images came in a lossy transfer syntax"


def read(folder: Path) -> tuple[SeriesPlan, Volume]:
    """Assemble the files of a folder as one series and load it."""
    root = folder.with_name(f"{folder.name}-stored")
    received = store([path.read_bytes() for path in sorted(folder.iterdir())], root)
    _, plan = alone(received)
    assert plan is not None
    return plan, load_volume(plan, root)


def write(scan: Scan, folder: Path) -> list[Path]:
    folder.mkdir()
    paths = []
    for number, ds in enumerate(scan.build()):
        paths.append(folder / f"{number:03d}.dcm")
        paths[-1].write_bytes(encoded(ds))
    return paths


def transcode(paths: list[Path], folder: Path, *command: str) -> None:
    require_program(command[0])
    folder.mkdir()
    for path in paths:
        subprocess.run([*command, path, folder / path.name], check=True, capture_output=True)


def compress(paths: list[Path], folder: Path, syntax: UID) -> None:
    folder.mkdir()
    options = {JPEGLSNearLossless: {"jls_error": 2}, JPEG2000: {"j2k_cr": [4]}}.get(syntax, {})
    for path in paths:
        ds = dcmread(path)
        ds.compress(syntax, generate_instance_uid=False, **options)
        ds.save_as(folder / path.name, enforce_file_format=True)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("syntax", "scan"),
    [(syntax, UNSIGNED) for syntax in DCMTK]
    + [(syntax, SIGNED) for syntax in DCMTK if UID(syntax) not in WITHIN_HU],
)
def test_what_dcmtk_encodes_is_read_as_it_was(syntax: str, scan: Scan, tmp_path: Path) -> None:
    paths = write(scan, tmp_path / "sent")
    transcode(paths, tmp_path / "coded", *DCMTK[syntax])
    _, plain = read(tmp_path / "sent")
    plan, volume = read(tmp_path / "coded")
    assert dcmread(next((tmp_path / "coded").iterdir())).file_meta.TransferSyntaxUID == syntax
    assert np.abs(volume.hu - plain.hu).max() <= WITHIN_HU.get(UID(syntax), 0)
    assert (LOSSY in plan.limitations) == (UID(syntax) in WITHIN_HU)


@pytest.mark.parametrize("scan", [SIGNED, UNSIGNED], ids=["signed", "12 bits unsigned"])
@pytest.mark.parametrize("syntax", PYDICOM, ids=[uid.name for uid in PYDICOM])
def test_what_pydicom_encodes_is_read_as_it_was(syntax: UID, scan: Scan, tmp_path: Path) -> None:
    paths = write(scan, tmp_path / "sent")
    compress(paths, tmp_path / "coded", syntax)
    _, plain = read(tmp_path / "sent")
    _, volume = read(tmp_path / "coded")
    assert np.abs(volume.hu - plain.hu).max() <= WITHIN_HU.get(syntax, 0)


def test_every_accepted_transfer_syntax_is_tested_here() -> None:
    tested = {*DCMTK, *PYDICOM, EIGHT_BIT}
    assert {str(uid) for uid in ACCEPTED_TRANSFER_SYNTAXES} == {str(uid) for uid in tested}


def test_enhanced_ct_gives_the_volume_of_the_classic_series(tmp_path: Path) -> None:
    write(SIGNED, tmp_path / "classic")
    (tmp_path / "enhanced").mkdir()
    one_file = encoded(SIGNED.enhanced(range(14, -1, -1)))
    (tmp_path / "enhanced" / "all.dcm").write_bytes(one_file)
    _, classic = read(tmp_path / "classic")
    plan, enhanced = read(tmp_path / "enhanced")
    assert np.array_equal(classic.hu, enhanced.hu)
    assert np.array_equal(classic.positions_mm, enhanced.positions_mm)
    assert [ref.frame_number for ref in plan.slices] == list(range(15, 0, -1))


# --- from the coded files to the findings ---------------------------------------------------------

SENT = HEAD(signed=False, bits_stored=12)
Coder = Callable[[list[Path], Path], None]


def by_dcmtk(syntax: str) -> Coder:
    return lambda paths, folder: transcode(paths, folder, *DCMTK[syntax])


def by_pydicom(syntax: UID) -> Coder:
    return lambda paths, folder: compress(paths, folder, syntax)


def enhanced(*, shared_rescale: bool = False, syntax: UID | None = None) -> Coder:
    """All slices in one object, whose frames are not in the order of the slices."""

    def code(_: list[Path], folder: Path) -> None:
        order = [*range(1, 30, 2), *range(28, -1, -2)]
        ds = dcmread(BytesIO(encoded(SENT.enhanced(order, shared_rescale=shared_rescale))))
        if syntax:
            ds.compress(syntax, generate_instance_uid=False)
        folder.mkdir()
        ds.save_as(folder / "all.dcm", enforce_file_format=True)

    return code


LOSSLESS: dict[str, Coder] = {
    **{f"DCMTK {s}": by_dcmtk(s) for s in DCMTK if UID(s) not in WITHIN_HU},
    **{f"pydicom {s.name}": by_pydicom(s) for s in PYDICOM if s not in WITHIN_HU},
    "Enhanced CT": enhanced(),
    "Enhanced CT, one rescale": enhanced(shared_rescale=True),
    "Enhanced CT, JPEG-LS": enhanced(syntax=JPEGLSLossless),
    "Enhanced CT, RLE": enhanced(syntax=RLELossless),
}
DEGRADED: dict[str, Coder] = {
    **{f"DCMTK {s}": by_dcmtk(s) for s in DCMTK if UID(s) in WITHIN_HU},
    **{f"pydicom {s.name}": by_pydicom(s) for s in PYDICOM if s in WITHIN_HU},
}


def triaged(folder: Path, detector: Detector) -> tuple[Outcome, Findings]:
    """Store, assemble and triage the files of a folder; return what became of them."""
    root = folder.with_name(f"{folder.name}-stored")
    _, plan = alone(store([path.read_bytes() for path in sorted(folder.iterdir())], root))
    assert plan is not None
    case = CaseFolder(root, "case")
    case.make()
    outcome = triage(plan, detector, folder=case, decode=load_volume)
    return outcome, case.require_findings()


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(SENT, tmp_path_factory.mktemp("corridor") / "sent")


@pytest.fixture(scope="module")
def plain(sent: list[Path], detector: Detector) -> Findings:
    """What is found in the head as it was sent uncompressed."""
    outcome, found = triaged(sent[0].parent, detector)
    assert found.mask.any() and 0.01 < found.probability < 0.999
    assert LOSSY not in outcome.limitations
    return found


@pytest.mark.peer
@pytest.mark.parametrize("name", LOSSLESS)
def test_findings_are_the_same_to_the_bit_in_every_lossless_coding(
    name: str, sent: list[Path], plain: Findings, detector: Detector, tmp_path: Path
) -> None:
    LOSSLESS[name](sent, tmp_path / "coded")
    outcome, found = triaged(tmp_path / "coded", detector)
    assert found.probability == outcome.probability == plain.probability
    assert np.array_equal(found.mask, plain.mask)
    assert found.sha256 == plain.sha256
    assert LOSSY not in outcome.limitations


@pytest.mark.peer
@pytest.mark.parametrize("name", DEGRADED)
def test_findings_of_a_lossy_coding_are_close_and_its_loss_is_said(
    name: str, sent: list[Path], plain: Findings, detector: Detector, tmp_path: Path
) -> None:
    DEGRADED[name](sent, tmp_path / "coded")
    outcome, found = triaged(tmp_path / "coded", detector)
    assert found.suspected == plain.suspected
    assert found.probability == pytest.approx(plain.probability, abs=0.1)
    both = (found.mask & plain.mask).sum()
    assert 2 * both / (found.mask.sum() + plain.mask.sum()) > 0.8
    assert LOSSY in outcome.limitations


@pytest.mark.parametrize("rescale", [("1e9", "0"), ("1", "1e9"), ("1e39", "0"), ("1", "1e39")])
def test_an_image_of_impossible_slope_or_intercept_is_refused(
    rescale: tuple[str, str], tmp_path: Path
) -> None:
    images = SMALL.build()
    images[3].RescaleSlope, images[3].RescaleIntercept = rescale
    _, plan = alone(store([encoded(ds) for ds in images], tmp_path))
    assert plan is not None
    with pytest.raises(Damaged, match="RescaleSlope or RescaleIntercept") as caught:
        load_volume(plan, tmp_path)
    assert [fault.ref.sop_instance_uid for fault in caught.value.faults] == [
        images[3].SOPInstanceUID
    ]


def test_a_codec_that_panics_costs_its_image(tmp_path: Path) -> None:
    """The RLE codec, in Rust, raises what is no Exception."""
    received = store([(ROOT / "tests/fuzz/corpus/pixels/rle_panic").read_bytes()], tmp_path)
    (image,) = received.instances
    place = image.header.frames[0].position_mm
    named = (image.stored.path, image.stored.sha256)
    named += (image.header.sop_class_uid, image.header.sop_instance_uid)
    plan = SeriesPlan("1", "2", (SliceRef(*named, 1, place),), "")
    with pytest.raises(Damaged, match="the codec fails"):
        load_volume(plan, tmp_path)


# --- 8 bits ---------------------------------------------------------------------------------------


def in_eight_bits(
    scan: Scan, slope: float, intercept: float, *, colour: bool = False
) -> Sequence[bytes]:
    """The scan as JPEG Baseline: 256 values of `slope` Hounsfield units from `intercept` up."""
    files = []
    for ds, position in zip(scan.build(), scan.positions_mm, strict=True):
        grey = np.clip(np.rint((scan.hu(position) - intercept) / slope), 0, 255).astype(np.uint8)
        jpeg = BytesIO()
        picture = Image.fromarray(grey)
        (picture.convert("RGB") if colour else picture).save(jpeg, "JPEG", quality=95)
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
        ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
        if colour:
            ds.SamplesPerPixel, ds.PlanarConfiguration = 3, 0
            ds.PhotometricInterpretation = "YBR_FULL_422"
        ds.PixelData = encapsulate([jpeg.getvalue()])
        ds["PixelData"].VR = "OB"
        files.append(encoded(ds, EIGHT_BIT))
    return files


def test_eight_bits_that_hold_the_whole_range_are_read_and_their_loss_is_said(
    tmp_path: Path,
) -> None:
    received = store(in_eight_bits(SMALL, 9.0, -1024), tmp_path / "coded")
    _, plan = alone(received)
    assert plan is not None
    volume = load_volume(plan, tmp_path / "coded")
    _, plain = read(write(SMALL, tmp_path / "sent")[0].parent)
    assert np.median(np.abs(volume.hu - plain.hu)) <= 9
    assert np.abs(volume.hu - plain.hu).max() <= 90
    assert LOSSY in plan.limitations


@pytest.mark.parametrize(
    ("slope", "intercept", "colour"),
    [(80 / 255, 0, False), (1, 0, False), (1, -1024, False), (9, -1024, True)],
    ids=["a window", "grey values", "grey values by another's intercept", "colours"],
)
def test_eight_bits_that_hold_no_hounsfield_units_are_refused(
    slope: float, intercept: float, colour: bool, tmp_path: Path
) -> None:
    received = store(in_eight_bits(SMALL, slope, intercept, colour=colour), tmp_path)
    _, plan = alone(received)
    assert plan is not None
    with pytest.raises(Refused) as caught:
        load_volume(plan, tmp_path)
    assert caught.value.code is Reason.NOT_HOUNSFIELD


@pytest.mark.data
def test_the_real_head_has_the_values_that_simpleitk_reads(data: Path, tmp_path: Path) -> None:
    files = [path.read_bytes() for path in sorted((data / "ge_head_tilt").glob("*.dcm"))]
    _, plan = alone(store(files, tmp_path))
    assert plan is not None
    volume = load_volume(plan, tmp_path)
    assert len(volume.hu) == 28
    for ref, seen in zip(plan.slices, volume.hu, strict=True):
        expected = sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / ref.path))[0]
        assert np.array_equal(np.maximum(expected, -1024), seen)


@pytest.mark.peer
@pytest.mark.parametrize("syntax", [s for s in DCMTK if UID(s).is_compressed])
def test_what_dcmtk_compresses_is_read_without_its_last_delimiter(
    syntax: str, tmp_path: Path
) -> None:
    paths = write(UNSIGNED, tmp_path / "sent")
    transcode(paths, tmp_path / "coded", *DCMTK[syntax])
    _, whole = read(tmp_path / "coded")
    (tmp_path / "cut").mkdir()
    for path in (tmp_path / "coded").iterdir():
        data = path.read_bytes()
        assert data.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")
        (tmp_path / "cut" / path.name).write_bytes(data[:-8])
    _, cut = read(tmp_path / "cut")
    assert np.array_equal(cut.hu, whole.hu)


@pytest.mark.parametrize("kept", [0, 30, 900], ids=["no frame", "its header", "half a frame"])
def test_a_frame_cut_short_is_undecodable_and_the_image_named(kept: int, tmp_path: Path) -> None:
    paths = write(SIGNED, tmp_path / "sent")
    compress(paths, tmp_path / "coded", JPEGLSLossless)
    broken = tmp_path / "coded" / "007.dcm"
    damaged = broken.read_bytes()
    at = damaged.index(b"\xff\xd8\xff")  # the frame's start of image
    broken.write_bytes(damaged[: at + kept])
    with pytest.raises(Refused) as caught:
        read(tmp_path / "coded")
    assert caught.value.code is Reason.UNDECODABLE
    assert dcmread(paths[7]).SOPInstanceUID in str(caught.value)


def test_a_file_that_changed_on_disk_is_not_read(tmp_path: Path) -> None:
    received = store([encoded(ds) for ds in SIGNED.build()], tmp_path)
    _, plan = alone(received)
    assert plan is not None
    path = tmp_path / plan.slices[3].path
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(Refused, match="changed on disk") as caught:
        load_volume(plan, tmp_path)
    assert caught.value.code is Reason.UNDECODABLE


def test_padding_becomes_air(tmp_path: Path) -> None:
    images = SIGNED.having(PixelPaddingValue=30768).build()
    for ds in images:
        stored = np.frombuffer(ds.PixelData, "<i2").copy()
        stored[:50] = 30768
        ds.PixelData = stored.tobytes()
    received = store([encoded(ds) for ds in images], tmp_path)
    _, plan = alone(received)
    assert plan is not None
    volume = load_volume(plan, tmp_path)
    assert (volume.hu[:, 0, :50] == -1024).all()
    assert (volume.hu[:, 0, 50:] == -1000).all()
