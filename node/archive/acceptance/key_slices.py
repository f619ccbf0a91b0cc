"""Pictures of the slices on which the node was wrong, as they stand inside the report."""

import base64
from collections.abc import Iterable, Mapping

from PIL import Image

from node.archive.evidence import WINDOWS, Head, encoded, read_head, slice_picture
from node.archive.proof import Proof
from node.errors import Permanent
from node.overlay import write_sides

LARGEST = 360
"""Pixels of a picture's longer side. Chosen: some 20 KB each."""
LETTERS = 26
"""Pixels of the letters that tell left from right; the page shows a picture at about half."""


def key_pictures(proof: Proof, wrong: Mapping[str, int | None]) -> dict[str, list[str]]:
    """Return the key slice of each study as data URLs: plain, and with the node's outline if any.

    A study whose images are not there, or cannot be read, has no picture.

    Parameters
    ----------
    wrong
        By study, the index of its key slice; None takes the likeliest slice.
    """
    return {study: list(_pictures(proof, study, key)) for study, key in wrong.items()}


def _pictures(proof: Proof, study: str, key: int | None) -> Iterable[str]:
    try:
        head = read_head(proof, study)
    except Permanent:
        head = None
    if head is None:
        return
    z = head.key(key)
    yield data_url(small_picture(head, z, outlined=False))
    if head.mask[z].any():
        yield data_url(small_picture(head, z, outlined=True))


def small_picture(head: Head, z: int, *, outlined: bool) -> bytes:
    """Return a slab in the brain window as a small JPEG, with what is outlined on it if asked."""
    picture = slice_picture(head, z, WINDOWS["brain"], outlined=outlined)
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    if head.sides:
        write_sides(picture, head.sides, LETTERS)
    return encoded(picture, "JPEG")


def data_url(jpeg: bytes) -> str:
    """Return a JPEG as an address that holds all of it."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
