"""What the detector finds in a volume: the vocabulary that node and training share."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
"""The five subtypes of the RSNA 2019 challenge, in its alphabetical order."""


@dataclass(frozen=True, slots=True)
class SliceFinding:
    """What was found on one source slice: probabilities in 0..1.

    `subtypes` has one key for each of `SUBTYPES`, or is None if the detector names no subtypes.
    """

    probability: float
    subtypes: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """A detector's result for one volume.

    Attributes
    ----------
    probability
        Triage score of the whole volume, 0..1.
    suspected
        Whether the score reaches the bundle's locked operating point.
    uncertainty
        Disagreement of the networks, 0 if they agree, at most 1.
    uncertain
        Whether the disagreement reaches the bundle's limit, so that a person should decide soon.
    volume_ml
        Volume of `mask` in millilitres.
    subtypes
        Study probability of each of `SUBTYPES`, 0..1; empty if the detector names no subtypes.
    slices
        One entry for each slice of the volume, in its order.
    key_slice
        0-based index of the slice to look at first; None if the detector marks no slice.
    mask
        (z, y, x) bool, in the geometry of the volume.
    heat
        (z, y, x) uint8, the map: 0..1 scaled to 0..255, in the geometry of the volume.
    bundle
        Name and version of the weights, "name@version".
    weights_sha256
        Digest of the bundle's weights, 64 hex digits.
    limitations
        What is wrong with the images and may have misled the detector, in sentences.
    mimics
        What marked regions look like instead of blood, in sentences. They clear nothing.
    operating_point
        The score from which a volume is suspected; None in results from before it was noted.
    operating_point_name
        Its name, if the bundle offers several.
    """

    probability: float
    suspected: bool
    uncertainty: float
    uncertain: bool
    volume_ml: float
    subtypes: Mapping[str, float]
    slices: tuple[SliceFinding, ...]
    key_slice: int | None
    mask: NDArray[np.bool_]
    heat: NDArray[np.uint8]
    bundle: str
    weights_sha256: str
    limitations: tuple[str, ...] = ()
    operating_point: float | None = None
    operating_point_name: str | None = None
    mimics: tuple[str, ...] = ()

    def save(self, values: Path, arrays: Path) -> None:
        """Write mask and heat to `arrays` (NPZ), then all else to `values` (JSON)."""
        np.savez_compressed(arrays, mask=self.mask, heat=self.heat)
        values.write_text(json.dumps(self._values(), indent=1))

    @property
    def sha256(self) -> str:
        """Digest of all that was found, 64 hex digits; other findings have another digest."""
        digest = hashlib.sha256(json.dumps(self._values(), sort_keys=True).encode())
        for array in (self.mask, self.heat):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def _values(self) -> dict[str, Any]:
        """Return everything but the arrays, as plain JSON values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["slices"] = [asdict(finding) for finding in self.slices]
        del values["mask"], values["heat"]
        if self.operating_point_name is None:  # the digest of older findings stays
            del values["operating_point_name"]
        if not self.mimics:
            del values["mimics"]
        return values

    @classmethod
    def load(cls, values: Path, arrays: Path) -> "Findings":
        """Return what `save` wrote; results from before there was an uncertainty are certain."""
        found: dict[str, Any] = {"uncertainty": 0.0, "uncertain": False}
        found |= json.loads(values.read_text())
        for name in ("limitations", "mimics"):
            found[name] = tuple(found.get(name, ()))
        slices = tuple(SliceFinding(**finding) for finding in found.pop("slices"))
        with np.load(arrays) as held:
            return cls(**found, slices=slices, mask=held["mask"], heat=held["heat"])


class Unreadable(Exception):
    """The detector cannot analyse the volume; the message says why.

    A result, not a crash: the node turns it into NOT_ANALYSED with this message as the reason.
    """
