"""The images of the studies that are looked at: the last few stay in memory."""

import threading
from collections import OrderedDict

from PIL import Image

from node.archive.evidence import WINDOWS, Head, encoded, mask_picture, read_head, slice_picture
from node.archive.proof import Proof

KEPT = 4
"""Heads, of 64 slabs of 512 x 512 at most: some 200 MB. Chosen."""


class Heads:
    """Pictures of slices; threads share it."""

    def __init__(self, proof: Proof) -> None:
        self._proof = proof
        self._held: OrderedDict[str, Head | None] = OrderedDict()
        self._lock = threading.Lock()

    def head(self, study: str) -> Head | None:
        """Return a study's images; None if there are none."""
        with self._lock:
            if study not in self._held:
                self._held[study] = read_head(self._proof, study)
                while len(self._held) > KEPT:
                    self._held.popitem(last=False)
            self._held.move_to_end(study)
            return self._held[study]

    def slice_png(self, study: str, z: int, window: str) -> bytes | None:
        """Return a slice in a window by its name; None if there is no such picture."""
        head = self.head(study)
        if head is None or window not in WINDOWS or not 0 <= z < len(head.hu):
            return None
        return encoded(slice_picture(head, z, WINDOWS[window]))

    def mask_png(self, study: str, z: int) -> bytes | None:
        """Return what the node outlined on a slice, one pixel if nothing; None without a slice."""
        head = self.head(study)
        if head is None or not 0 <= z < len(head.hu):
            return None
        return encoded(mask_picture(head, z)) if head.mask[z].any() else _NOTHING


_NOTHING = encoded(Image.new("LA", (1, 1)))
