"""Proofs of made-up studies, written as `ichnode archive find`, `read` and `label` write them."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from models.findings import SUBTYPES
from node.archive.comparison import begin_again
from node.archive.finding.store import CATALOGUE, WHERE
from node.archive.proof import Proof
from node.archive.reading.outcomes import OUTCOME
from training.phantoms import phantom

READ_AT = datetime(2026, 11, 20, 8, tzinfo=UTC)
SCANNERS = ("SIEMENS Force", "GE Revolution", "PHILIPS iCT")
KERNELS = ("Hr40f", "SOFT", "UB")
PLACES = ("emergency", "inpatient", "outpatient")
THRESHOLD = 0.4
DECIDED = ("SUSPECTED", "NO_FINDING")
WHY = {
    "NOT_ANALYSED": "only {} mL of brain were scanned",
    "FAILED": "it failed after {}.5 s",
    "KILLED": "killed its worker",
}
SENTENCES = {
    "bleeds": "There is a small acute hemorrhage.",
    "none": "No intracranial hemorrhage.",
    "cannot tell": "A small hemorrhage cannot be excluded.",
}
RULES = {
    "bleeds": 'present: "hemorrhage"',
    "none": 'absent: "no"',
    "cannot tell": 'doubted: "cannot be excluded"',
}


@dataclass(frozen=True)
class Truth:
    """What a made-up study is, beside what the node and its report say of it."""

    study: str
    bleeds: bool
    subtypes: tuple[str, ...]


def made_up(
    root: Path,
    studies: int = 200,
    *,
    seed: int = 1,
    prevalence: float = 0.1,
    patients: int | None = None,
    report_misses: float = 0.1,
    report_invents: float = 0.02,
    unclear: float = 0.05,
) -> tuple[Proof, list[Truth]]:
    """Write a proof of studies of three scanners; return it and what each study is in truth."""
    rng = np.random.default_rng(seed)
    proof = Proof(root)
    proof.make()
    names = proof.pseudonyms()
    rows, where, labels, truths, series = [], [], [], [], []
    for number in range(studies):
        bleeds = bool(rng.random() < prevalence)
        subtypes = tuple(rng.choice(SUBTYPES, 1)) if bleeds else ()
        owner = f"P{number if patients is None else rng.integers(patients)}"
        accession, uid = f"A{number:05}", f"1.2.3.{number}"
        row = _outcome(rng, bleeds, subtypes, number)
        row |= {
            "study": names.study(uid),
            "patient": names.patient(owner),
            "accession": names.accession(accession),
        }
        rows.append(row)
        where.append({"study": row["study"], "study_instance_uid": uid, "patient_id": owner})
        series.append(
            {"study": row["study"], "series": names.series(uid), "taken": True, "why": "head CT"}
        )
        said = _said(rng, bleeds, report_misses, report_invents, unclear)
        labels.append(
            (accession, said, f"{SENTENCES[said]} ({accession})", RULES[said], "en", owner)
        )
        truths.append(Truth(row["study"], bleeds, subtypes))
    for number in range(studies // 10):
        series.append(
            {
                "study": names.study(f"9.{number}"),
                "series": names.series(f"9.{number}"),
                "taken": False,
                "why": "contrast agent" if number % 3 else "not a head",
            }
        )
    write_outcomes(proof, rows)
    parquet.write_table(pyarrow.Table.from_pylist(where, WHERE), proof.where)
    parquet.write_table(pyarrow.Table.from_pylist(series, CATALOGUE), proof.catalogue)
    write_labels(proof, labels)
    return proof, truths


def _outcome(
    rng: np.random.Generator, bleeds: bool, subtypes: Sequence[str], number: int
) -> dict[str, Any]:
    scanner = int(rng.integers(3))
    probability = round(float(np.clip(rng.normal(0.75 if bleeds else 0.15, 0.22), 0, 1)), 3)
    result = str(
        rng.choice(["", "NOT_ANALYSED", "FAILED", "KILLED"], p=[0.93, 0.05, 0.015, 0.005])
    ) or ("SUSPECTED" if probability >= THRESHOLD else "NO_FINDING")
    analysed = result in ("SUSPECTED", "NO_FINDING")
    return {
        "result": result,
        "flagged": result == "SUSPECTED",
        "reason": "" if analysed else WHY[result].format(number),
        "probability": probability if analysed else None,
        "uncertain": bool(rng.random() < 0.05),
        "subtypes": {name: 0.8 if name in subtypes else 0.1 for name in SUBTYPES}
        if analysed
        else None,
        "volume_ml": round(float(rng.gamma(2, 6)), 1) if result == "SUSPECTED" else 0.0,
        "limitations": ["the bottom of the head is cut off"] if rng.random() < 0.05 else [],
        "mimics": [],
        "operating_point": "standard",
        "threshold": THRESHOLD,
        "bundle": "ich-ensemble",
        "bundle_version": "0.4",
        "scanner": SCANNERS[scanner],
        "kernel": KERNELS[scanner],
        "thickness_mm": float(rng.choice([1.0, 3.0, 5.0])),
        "age_band": str(rng.choice(["40-49", "60-69", "80-89"])),
        "sex": str(rng.choice(["F", "M"])),
        "place": str(rng.choice(PLACES)),
        "study_date": f"2025-{1 + number % 12:02}-15",
        "read_at": READ_AT + timedelta(minutes=number),
        "key_slice": None,
    }


def _said(
    rng: np.random.Generator, bleeds: bool, misses: float, invents: float, unclear: float
) -> str:
    if rng.random() < unclear:
        return "cannot tell"
    wrong = rng.random() < (misses if bleeds else invents)
    return "bleeds" if bleeds != wrong else "none"


def write_outcomes(proof: Proof, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the outcomes of studies as two batches."""
    proof.outcomes.mkdir(exist_ok=True)
    half = len(rows) // 2
    for number, part in enumerate((rows[:half], rows[half:])):
        if part:
            table = pyarrow.Table.from_pylist([dict(row) for row in part], OUTCOME)
            parquet.write_table(table, proof.outcomes / f"batch-{number}.parquet")


def outcome_rows(proof: Proof) -> list[dict[str, Any]]:
    """Return the rows of a proof's outcomes."""
    rows: list[dict[str, Any]] = parquet.read_table(proof.outcomes).to_pylist()
    return rows


def write_labels(proof: Proof, labels: Sequence[Sequence[str]]) -> None:
    """Write labels as `ichnode archive label` does."""
    with proof.labels.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("accession", "label", "sentence", "rule", "language", "patient"))
        writer.writerows(labels)


def read_anew(
    old: Proof, folder: Path, *, seed: int = 3, threshold: float = THRESHOLD, spread: float = 0.15
) -> Proof:
    """Make a second proof of the studies, read by a bundle whose scores are a little different."""
    begin_again(old, Proof(folder))
    rng = np.random.default_rng(seed)
    rows = []
    for row in outcome_rows(old):
        chance, moved = rng.random(), rng.normal(0, spread)
        probability = float(np.clip((row["probability"] or 0.1) + moved, 0, 1))
        result = "NOT_ANALYSED" if chance < 0.03 else DECIDED[probability < threshold]
        analysed = result in DECIDED
        rows.append(
            row
            | {
                "result": result,
                "flagged": result == "SUSPECTED",
                "reason": "" if analysed else "CONTRAST",
                "probability": probability if analysed else None,
                "subtypes": dict.fromkeys(SUBTYPES, 0.1) if analysed else None,
                "threshold": threshold,
                "bundle_version": "0.5",
            }
        )
    write_outcomes(Proof(folder), rows)
    return Proof(folder)


def draw_heads(proof: Proof, truths: Sequence[Truth]) -> None:
    """Write images of phantoms for these studies; the outline is the truth's."""
    for number, truth in enumerate(truths):
        drawn = phantom(500 + number, subtypes=truth.subtypes)
        hu = drawn.volume.hu
        mask = drawn.lesions > 0
        high, wide = drawn.volume.spacing_mm
        file = proof.image(truth.study)
        file.parent.mkdir(exist_ok=True)
        np.savez_compressed(
            file,
            hu=np.rint(hu).astype(np.int16),
            mask=mask,
            spacing_mm=np.array([5.0, high, wide]),
            orientation=drawn.volume.orientation,
            probability=np.where(mask.any((1, 2)), 0.9, 0.1).astype(np.float32),
        )
