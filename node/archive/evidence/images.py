"""The images of a study that people look at, and pictures of their slices."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.windows import BONE, BRAIN, Window
from node.archive.proof import Proof
from node.errors import Permanent
from node.overlay import in_proportion, painted, sides

WINDOWS = {"brain": BRAIN, "subdural": Window(level=80, width=200), "bone": BONE}
"""Windows by name, in the order of their keys. Subdural: 80/200, a usual one for thin collections
beside the skull."""


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """The images of one study.

    Attributes
    ----------
    hu
        (z, y, x) int16 HU, slabs from feet to head.
    mask
        (z, y, x) bool, what the node outlined.
    spacing_mm
        (3,) float, z, y, x.
    probability
        (z,) float32 of each slab.
    orientation
        (6,) float64, unit cosines of rows and columns, LPS; None if the images were kept before it
        was: then nobody can tell left from right.
    """

    hu: NDArray[np.int16]
    mask: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]
    probability: NDArray[np.float32]
    orientation: NDArray[np.float64] | None = None

    @property
    def sides(self) -> dict[str, str]:
        """Which side of the patient lies at each edge; none if it is not known."""
        return {} if self.orientation is None else sides(self.orientation)

    def key(self, told: int | None) -> int:
        """Return the slab to look at first: what was told, else the likeliest, else the middle."""
        if told is not None and 0 <= told < len(self.hu):
            return told
        scores = self.probability
        if scores.size == len(self.hu) and np.isfinite(scores).all() and np.ptp(scores) > 0:
            return int(scores.argmax())
        return len(self.hu) // 2


def read_head(proof: Proof, study: str) -> Head | None:
    """Return a study's images; None if the folder has none.

    Raises
    ------
    Permanent
        If they are there and cannot be read.
    """
    file = proof.image(study)
    if not (study.isalnum() and file.exists()):
        return None
    try:
        with np.load(file, allow_pickle=False) as held:
            hu, mask = held["hu"].astype(np.int16), held["mask"].astype(bool)
            spacing, scores = held["spacing_mm"].astype(float), held["probability"]
            turned = held["orientation"].astype(float) if "orientation" in held else None
    except (OSError, ValueError, KeyError) as error:
        raise Permanent(f"{file} cannot be read: {error}") from error
    if hu.ndim != 3 or not len(hu) or mask.shape != hu.shape or spacing.shape != (3,):
        raise Permanent(f"{file} holds no head: {hu.shape} of HU, {mask.shape} of a mask")
    if turned is not None and not (turned.shape == (6,) and np.isfinite(turned).all()):
        raise Permanent(f"{file} does not say how its slices lie in the patient")
    z, y, x = spacing.tolist()
    return Head(hu, mask, (z, y, x), scores.astype(np.float32).ravel(), turned)


def slice_picture(head: Head, z: int, window: Window, *, outlined: bool = False) -> Image.Image:
    """Return a slab in a window, its pixels in proportion; with what is outlined on it if asked."""
    grey = np.rint(window(head.hu[z].astype(np.float32)) * 255).astype(np.uint8)
    picture = Image.fromarray(grey)
    if outlined and head.mask[z].any():
        picture = picture.convert("RGB")
        laid = painted(head.mask[z])
        picture.paste(laid, mask=laid)
    return in_proportion(picture, head.spacing_mm[1:])


def mask_picture(head: Head, z: int) -> Image.Image:
    """Return what is outlined on a slab, transparent elsewhere, its pixels in proportion."""
    return in_proportion(painted(head.mask[z]), head.spacing_mm[1:])


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    """Return a picture as a file: PNG, or JPEG where that will do."""
    out = io.BytesIO()
    if kind == "JPEG":
        picture.save(out, kind, quality=85)
    else:
        picture.save(out, kind, compress_level=1)
    return out.getvalue()
