"""The head that the node sends to itself: small, with a bleed that no detector should miss."""

from pathlib import Path

import numpy as np

from training.phantoms import Scanner, phantom

STEP_HU = 4
"""The values are rounded to multiples of this: the file is then half as large."""
LIMITS_HU = (-1024, 1600)


def write(path: Path) -> None:
    """Write the phantom, for `node.canary.phantom`, as an .npz file.

    `stored` are its slices, (z, y, x) uint16 in steps of `STEP_HU` from the lower limit;
    `positions_mm`, `orientation` and `spacing_mm` are as in `models.volume.Volume`.
    """
    drawn = phantom(
        49,
        subtypes=("intraparenchymal", "intraventricular"),
        volume_ml={"intraparenchymal": 20.0, "intraventricular": 4.0},
        confounders=(),
        scanner=Scanner(rows=200, columns=200, spacing_mm=(1.1, 1.1)),
    )
    volume = drawn.volume
    hu = np.clip(volume.hu, *LIMITS_HU)
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            stored=np.rint((hu - LIMITS_HU[0]) / STEP_HU).astype(np.uint16),
            positions_mm=volume.positions_mm,
            orientation=volume.orientation,
            spacing_mm=np.array(volume.spacing_mm),
        )


if __name__ == "__main__":
    write(Path(__file__).parents[2] / "node" / "canary" / "phantom.npz")
