"""From the stored values of an image to Hounsfield units, by its header (PS3.3 C.8.2.1)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.dicom.read.elements import macros, number, short
from node.dicom.read.substitutes import bits_stored
from node.errors import Refused
from node.records import Header
from node.states import Reason

AIR_HU = np.float32(-1024)
"""The lowest value: padding and all lower values become this. Scanners mark the outside so."""

STEEPEST, FURTHEST_HU = 100.0, 1e5
"""What RescaleSlope and RescaleIntercept can be. The extended scale for metal has a slope of 10 and
an intercept of -10240. Chosen."""

HOUNSFIELD = ("", "HU")
"""Accepted rescale types; a CT without one means HU (PS3.3 C.8.2.1.1)."""

Stored = NDArray[np.integer]
Hounsfield = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Values:
    """What the stored values of one object mean.

    Attributes
    ----------
    unused_bits
        Number of bits of a stored value above BitsStored; archives leave rubbish in them
        (PS3.5 8.1.1).
    wraps
        Whether this is a 12-bit object whose intercept was lost, as in the RSNA 2019 data set:
        BitsStored 12, unsigned, and an intercept above -100 that leaves no room for air. Its
        values below zero were wrapped to the top of the 12 bits. The repair is that of Burduja
        2020 (Sensors 20:5611, code): add 1000, wrap values of 4096 and more, intercept -1000.
    padding
        Lowest and highest stored value outside the reconstructed field (PS3.3 C.7.5.1.1.2).
    rescale
        Slope and intercept of each frame; None where one of them is missing or impossible, or the
        slope is zero.
    name
        The object's SOPInstanceUID.
    """

    unused_bits: int
    wraps: bool
    padding: tuple[int, int] | None
    rescale: list[tuple[float, float] | None]
    name: str

    def to_hounsfield(self, stored: Stored, frame: int, out: Hounsfield) -> None:
        """Write (rows, columns) `stored` values of a frame to `out`, float32, HU.

        Raises
        ------
        Refused
            NOT_HOUNSFIELD if the frame lacks slope or intercept, since they are never guessed.
        """
        if (rescale := self.rescale[frame]) is None:
            raise _no_rescale(self.name)
        slope, intercept = rescale
        # Shifting left and back clears the unused bits, and extends the sign of signed values.
        used = (stored << self.unused_bits) >> self.unused_bits if self.unused_bits else stored
        if self.wraps:
            used, intercept = (used + 1000) & 4095, -1000.0
        # In place, since a second array would double the memory of the volume.
        np.copyto(out, used, casting="unsafe")
        if slope != 1:
            out *= np.float32(slope)
        out += np.float32(intercept)
        np.maximum(out, AIR_HU, out=out)
        if self.padding:
            low, high = self.padding
            out[(stored >= low) & (stored <= high)] = AIR_HU


def values_of(ds: Dataset, header: Header) -> Values:
    """Return what the stored values of an object mean.

    Raises
    ------
    Refused
        NOT_HOUNSFIELD if the unit is another one, or no frame has slope and intercept.
    """
    name = header.sop_instance_uid
    if header.rescale_type not in HOUNSFIELD:
        raise _not_hounsfield(name, f"RescaleType is {header.rescale_type!r}, not HU")
    rescale = [_rescale(group) for group in macros(ds, "PixelValueTransformationSequence")]
    known = [values for values in rescale if values]
    if not known:
        raise _no_rescale(name)
    stored = bits_stored(ds) or 16
    unused = (short(ds, "BitsAllocated") or 16) - stored
    signed = short(ds, "PixelRepresentation") == 1
    wraps = stored == 12 and not signed and all(i > -100 and s == 1 for s, i in known)
    return Values(max(unused, 0), wraps, _padding(ds, signed, *known[0]), rescale, name)


def _rescale(group: Dataset) -> tuple[float, float] | None:
    slope, intercept = number(group, "RescaleSlope"), number(group, "RescaleIntercept")
    if not slope or intercept is None:
        return None
    possible = abs(slope) <= STEEPEST and abs(intercept) <= FURTHEST_HU
    return (slope, intercept) if possible else None


def _padding(ds: Dataset, signed: bool, slope: float, intercept: float) -> tuple[int, int] | None:
    """Return the stored range of padding; None if no value is to be replaced.

    A padding value that means -900..3000 HU is an error of the header: replacing it would make
    holes in tissue. The range must hold all tissue. It is an estimate; one header had padding 0
    with intercept 0, which is water.
    """
    value = short(ds, "PixelPaddingValue", signed=signed)
    if value is None:
        return None
    limit = short(ds, "PixelPaddingRangeLimit", signed=signed)
    low, high = sorted((value, value if limit is None else limit))
    lowest, highest = low * slope + intercept, high * slope + intercept
    if highest <= AIR_HU:
        return None  # AIR_HU is the lowest value kept in any case
    return (low, high) if highest <= -900 or lowest >= 3000 else None


def refuse_implausible(hu: Hounsfield) -> None:
    """Raise NOT_HOUNSFIELD if the values cannot show a patient in air.

    A head has air around it and soft tissue in it. So at least 0.5 % of the voxels must lie below
    -700 HU, and 0.5 % in 0..80 HU: a twentieth of what the widest field of view leaves.
    """
    sample = hu[::2, ::4, ::4]  # one in 32 voxels is enough
    air, tissue = (sample < -700).mean(), ((sample >= 0) & (sample <= 80)).mean()
    if min(air, tissue) < 0.005:
        raise Refused(
            Reason.NOT_HOUNSFIELD,
            f"the values are no Hounsfield units of a patient: {air:.1%} of the voxels are air "
            f"(below -700) and {tissue:.1%} soft tissue (0 to 80); check slope and intercept",
        )


def _not_hounsfield(name: str, why: str) -> Refused:
    return Refused(Reason.NOT_HOUNSFIELD, f"image {name} is not in Hounsfield units: {why}")


def _no_rescale(name: str) -> Refused:
    return _not_hounsfield(name, "RescaleSlope or RescaleIntercept is missing, zero or impossible")
