"""A hospital's archive for `make acceptance`: head CTs of several scanners, and their reports.

Most heads are phantoms; some are real ones of the public data, where they are at hand. Every tenth
study bleeds. A report may err: it misses some bleeds and hedges on some heads without one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from pydicom import dcmread

from models.findings import SUBTYPES
from models.volume import Volume
from tests.support import ROOT
from training.datasets import physionet
from training.datasets.series import Identity, write_series
from training.phantoms import phantom, random_subtypes
from training.phantoms.scanner import Scanner

DATA = ROOT.parent / "shared" / "data" / "physionet_ct_ich"
PREVALENCE = 0.1
REPORT_MISSES = 0.1
REPORT_HEDGES = 0.05
FIRST_DAY = datetime(2026, 11, 2, 7, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Machine:
    """One scanner of the hospital."""

    manufacturer: str
    model: str
    station: str
    place: str
    kernel: str
    scanner: Scanner


MACHINES = (
    Machine("SIEMENS", "SOMATOM Force", "CTER1", "EMERGENCY", "Hr40f", Scanner()),
    Machine(
        *("GE MEDICAL SYSTEMS", "Revolution CT", "CTER2", "EMERGENCY", "SOFT"),
        Scanner(noise_hu=4.0, tilt_deg=12.0),
    ),
    Machine(
        *("Philips", "iCT 256", "CTW1", "STROKE UNIT", "UB"),
        Scanner(slices=40, slice_spacing_mm=4.0, thickness_mm=4.0, noise_hu=4.5, psf_mm=0.9),
    ),
)

NEGATIVE = (
    "No acute intracranial hemorrhage. No mass effect or midline shift.",
    "There is no evidence of intracranial hemorrhage, infarction or mass.",
    "Ventricles and sulci are age-appropriate. No bleed, no fracture.",
    "No hemorrhage. History of subdural hematoma in 2019, since resolved.",
    "Chronic small vessel disease. No acute blood products are identified.",
    "Compared with the study of last week the subdural collection has resolved; no new hemorrhage.",
    "Kein Nachweis einer intrakraniellen Blutung. Altersentsprechende Weite der Liquorräume.",
    "Indication: fall, rule out hemorrhage. Findings: normal head CT.",
)
HEDGED = (
    "Punctate density of the left pallidum, likely calcium; hemorrhage cannot be excluded.",
    "Motion artefact. Subtle density along the falx, possible thin subdural hematoma.",
)
POSITIVE = {
    "epidural": "Lentiform extra-axial collection, consistent with an acute epidural hematoma.",
    "subdural": "Acute subdural hematoma along the convexity, up to 9 mm.",
    "intraparenchymal": "Acute intraparenchymal hemorrhage with surrounding oedema.",
    "subarachnoid": "Subarachnoid hemorrhage in the sulci. No hydrocephalus.",
    "intraventricular": "Intraventricular hemorrhage layering in the occipital horns.",
}


@dataclass(frozen=True)
class Study:
    """One study of the archive.

    Attributes
    ----------
    bleeds
        In truth; a phantom's as it was drawn, a real head's as its annotators say.
    report
        What a radiologist wrote, right or wrong.
    """

    identity: Identity
    files: tuple[Path, ...]
    bleeds: bool
    subtypes: tuple[str, ...]
    report: str


@dataclass(frozen=True)
class Head:
    """What is scanned."""

    volume: Volume
    subtypes: tuple[str, ...]
    machine: Machine


def studies(count: int, folder: Path, seed: int = 15) -> Iterator[Study]:
    """Write so many studies into folders of their own; yield each when it is written."""
    rng = np.random.default_rng(seed)
    for number, head in enumerate(_heads(count, rng)):
        identity = _identity(number, rng)
        files = write_series(
            head.volume, folder / f"{number:04}", identity, kernel=head.machine.kernel
        )
        for file in files:
            _sign(file, head.machine)
        report = _report(head.subtypes, rng)
        yield Study(identity, tuple(files), bool(head.subtypes), head.subtypes, report)


def _heads(count: int, rng: np.random.Generator) -> Iterator[Head]:
    """Yield real heads and phantoms in random order; `PREVALENCE` of all bleed."""
    real = _real()[:count]
    missing = max(0, round(PREVALENCE * count) - sum(bleeds for _, bleeds in real))
    drawn = [True] * missing + [False] * (count - len(real) - missing)
    planned = [*real, *((None, bleeds) for bleeds in drawn)]
    for number in rng.permutation(len(planned)):
        patient, bleeds = planned[number]
        machine = MACHINES[number % len(MACHINES)]
        if patient is not None:
            case = physionet.load(DATA, patient)
            shown = tuple(
                name for name, there in zip(SUBTYPES, case.study[1:], strict=True) if there == 1
            )
            yield Head(case.volume, shown, machine)
        else:
            subtypes = _some(rng) if bleeds else ()
            found = phantom(int(number), subtypes=subtypes, scanner=machine.scanner, split="test")
            yield Head(found.volume, subtypes, machine)


def _real() -> list[tuple[int | None, bool]]:
    """Return the real patients whom no network learnt from, and whether they bleed."""
    if not DATA.exists():
        return []
    held_out = physionet.read_split(ROOT / "config" / "recipes" / "physionet-split.toml").test
    bleeding = physionet.open_jpg(DATA).bleeding
    return [(patient, bleeding[str(patient)] == 1) for patient in held_out]


def _some(rng: np.random.Generator) -> tuple[str, ...]:
    while not (subtypes := random_subtypes(rng)):
        pass
    return subtypes


def _identity(number: int, rng: np.random.Generator) -> Identity:
    """Every ninth patient has two studies; ages, sexes and days differ."""
    patient = Identity.of(f"patient {number - 1 if number % 9 == 8 else number}")
    own = Identity.of(f"acceptance {number}")
    return replace(
        own,
        patient_id=patient.patient_id,
        patient_name=patient.patient_name,
        birth_date=f"{1931 + int(patient.patient_id[-2:]) * 7 % 70}0401",
        sex="FM"[int(patient.patient_id[-1]) % 2],
        acquired=FIRST_DAY + timedelta(hours=float(rng.uniform(0, 24 * 20))),
    )


def _sign(file: Path, machine: Machine) -> None:
    """Have an image say which scanner made it."""
    ds = dcmread(file)
    ds.Manufacturer, ds.ManufacturerModelName = machine.manufacturer, machine.model
    ds.StationName, ds.InstitutionalDepartmentName = machine.station, machine.place
    ds.save_as(file)


def _report(subtypes: Sequence[str], rng: np.random.Generator) -> str:
    if subtypes and rng.random() > REPORT_MISSES:
        return " ".join(POSITIVE[name] for name in subtypes)
    if not subtypes and rng.random() < REPORT_HEDGES:
        return str(rng.choice(HEDGED))
    return str(rng.choice(NEGATIVE))
