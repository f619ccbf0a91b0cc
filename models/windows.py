"""Display windows: they turn Hounsfield units into grey values."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Window:
    """A linear window: `level` - `width` / 2 becomes 0 and `level` + `width` / 2 becomes 1.

    `level` and `width` are in HU.
    """

    level: float
    width: float

    def __call__(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """HU of any shape -> grey values of that shape, float32, 0..1."""
        grey = (hu - np.float32(self.level - self.width / 2)) / np.float32(self.width)
        return np.clip(grey, 0, 1, out=grey)


# Kang 2023, Methods.
STROKE = Window(level=40, width=40)
BRAIN = Window(level=40, width=80)
BONE = Window(level=500, width=3000)
