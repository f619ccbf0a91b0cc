"""The phantom that comes with ichnode: a computed head that bleeds (`training.phantoms.canary`)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from models.volume import Volume
from node.dicom.write.ct import Scanned, write_ct

FILE = Path(__file__).with_name("phantom.npz")
STEP_HU, LOWEST_HU, THICKNESS_MM = 4, -1024, 5.0
"""How the file holds its slices."""
WORDS, NAME = "ICHNODE CANARY, NO PATIENT", "ICHNODE CANARY^NO PATIENT"
"""PatientID and StudyDescription, and PatientName, of every canary."""


@dataclass(frozen=True, slots=True)
class Phantom:
    """The head, and the SHA-256 of the file that it came from."""

    volume: Volume
    sha256: str


def load() -> Phantom:
    """Read the phantom."""
    with np.load(FILE) as held:
        stored, spacing = held["stored"], held["spacing_mm"]
        volume = Volume(
            stored.astype(np.float32) * STEP_HU + LOWEST_HU,
            held["positions_mm"],
            held["orientation"],
            (float(spacing[0]), float(spacing[1])),
            THICKNESS_MM,
        )
    return Phantom(volume, hashlib.sha256(FILE.read_bytes()).hexdigest())


def write(phantom: Phantom, study_uid: str, when: datetime, folder: Path) -> Sequence[Path]:
    """Write the phantom as a CT study of this UID; return its files. Raises as `write_ct`."""
    return list(write_ct(phantom.volume, Scanned(study_uid, WORDS, NAME, when), folder))
