"""A frame as a picture for people (PS3.18 8.7.4): windowed, scaled, PNG or JPEG."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from node.dicom.archive.frames import frame_values
from node.dicom.read.elements import macros, number, text

LARGEST = 4096
"""Most rows and columns of a picture."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How a frame is to be shown.

    Attributes
    ----------
    window
        Center and width, in the units of the rescaled values; None takes the stored window, or
        the range of the values where there is none.
    size
        Largest width and height, pixels; None keeps the frame's. The aspect ratio stays.
    quality
        Of JPEG, 1 to 100.
    """

    media_type: str
    window: tuple[float, float] | None = None
    size: tuple[int, int] | None = None
    quality: int = 90


def picture(file: bytes, frame: int, wish: Wish) -> bytes:
    """Return a frame, by its 1-based number, as a picture.

    Raises
    ------
    NoFrame, BadObject
        If the frame is not there, or its pixels cannot be decoded.
    """
    ds, stored = frame_values(file, frame)
    grey = stored if stored.ndim == 3 else _windowed(ds, stored, frame, wish.window)
    image = Image.fromarray(np.ascontiguousarray(grey.astype(np.uint8)))
    if wish.size is not None:
        image.thumbnail(wish.size)
    out = BytesIO()
    if wish.media_type == "image/png":
        image.save(out, "PNG")
    else:
        image.save(out, "JPEG", quality=wish.quality)
    return out.getvalue()


def _windowed(
    ds: Dataset, stored: NDArray[np.generic], frame: int, window: tuple[float, float] | None
) -> NDArray[np.float64]:
    """Return grey values, 0 to 255, by the linear function of PS3.3 C.11.2.1.2.1."""
    rescale = _macro(ds, "PixelValueTransformationSequence", frame)
    slope, intercept = number(rescale, "RescaleSlope"), number(rescale, "RescaleIntercept")
    values = stored.astype(np.float64) * (1 if slope is None else slope) + (intercept or 0)
    center, width = window or _stored_window(ds, frame) or _range(values)
    width = max(width, 1.0)
    grey = ((values - (center - 0.5)) / max(width - 1, 1e-6) + 0.5) * 255
    grey = np.clip(grey, 0, 255)
    return 255 - grey if text(ds, "PhotometricInterpretation") == "MONOCHROME1" else grey


def _stored_window(ds: Dataset, frame: int) -> tuple[float, float] | None:
    lut = _macro(ds, "FrameVOILUTSequence", frame)
    ends = []
    for keyword in ("WindowCenter", "WindowWidth"):
        try:
            ends.append(float(text(lut, keyword).split("\\")[0]))
        except ValueError:
            return None
    return ends[0], ends[1]


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low + high + 1) / 2, high - low + 1


def _macro(ds: Dataset, keyword: str, frame: int) -> Dataset:
    """Return the functional group macro of a frame; of a classic object, the object itself."""
    found = macros(ds, keyword)
    return found[frame - 1] if frame <= len(found) else found[0]
