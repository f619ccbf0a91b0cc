"""Slices as pictures, from the bytes that were received.

Pixels are decoded in processes with limits (`node.cases.decoding`): one for single slices, so that
the first picture of a study comes at once, and one for whole series, which are kept in memory, the
last ones used, within a bound.
"""

import io
import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.volume import Volume
from models.windows import BRAIN, Window
from node.case_folder import CaseFolder, case_folder
from node.depot import Depot
from node.dicom.read.pixels import Decoder
from node.errors import Permanent, Refused, Retryable
from node.overlay import in_proportion, painted, sides
from node.records import SeriesPlan, SliceRef

THUMB = 144
"""Pixels of a key slice in the list, which shows it at half of that."""
THUMBS = 500
"""Key slices that are kept: several pages of the list."""
HEAD_HU = -200
"""What is above is the head or what it lies on: between air and fat."""
NOWHERE = (0.0, 0.0, 0.0)

Plane = NDArray[np.int16]
Mask = NDArray[np.bool_]


class NoPicture(Permanent):
    """A slice cannot be shown; the message says why."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A decoded series: (z, y, x) int16, HU."""

    hu: NDArray[np.int16]
    spacing_mm: tuple[float, float]
    orientation: NDArray[np.float64]

    @classmethod
    def of(cls, volume: Volume) -> "Stack":
        """Return the volume in half of its memory; whole HU are enough for a picture."""
        hu = np.empty(volume.hu.shape, np.int16)
        for plane, out in zip(volume.hu, hu, strict=True):
            np.rint(plane.clip(-32768, 32767), out=out, casting="unsafe")
        return cls(hu, volume.spacing_mm, volume.orientation)


Key = tuple[int, int]
"""A case, and when its plan was written: a replay makes another one."""


class Pictures:
    """The pictures of cases; threads share it.

    Parameters
    ----------
    quick, whole
        Decode one slice, and all slices of a series. Each is called by one thread at a time.
    memory_mb
        How much the decoded series may take together; the last one stays in any case.
    """

    def __init__(self, depot: Depot, quick: Decoder, whole: Decoder, memory_mb: int) -> None:
        self._depot = depot
        self._quick, self._whole = quick, whole
        self._bytes = memory_mb << 20
        self._stacks: OrderedDict[Key, Stack] = OrderedDict()
        self._masks: OrderedDict[Key, dict[int, Mask]] = OrderedDict()
        self._thumbs: OrderedDict[tuple[Key, bool], bytes] = OrderedDict()
        self._coming: dict[Key, Future[None]] = {}
        self._lock = threading.Lock()
        self._decoding = threading.Lock()
        self._drawing_thumb = threading.Lock()
        self._loader, self._starter = (
            ThreadPoolExecutor(1, "series"),
            ThreadPoolExecutor(1, "slice"),
        )

    def warm_up(self) -> None:
        """Have both processes started, so that the first picture does not wait for them."""
        for pool, decode in ((self._loader, self._whole), (self._starter, self._quick)):
            pool.submit(self._start, decode)

    def _start(self, decode: Decoder) -> None:
        turn = self._decoding if decode is self._quick else nullcontext()
        with turn, suppress(IndexError, NoPicture, Retryable):
            self._decoded(decode, SeriesPlan("", "", (), ""))  # it has no first slice

    def close(self) -> None:
        """Drop what waits to be decoded."""
        for pool in (self._loader, self._starter):
            pool.shutdown(wait=False, cancel_futures=True)

    def slice_png(self, case_id: int, index: int, window: Window) -> bytes:
        """Return a slice in a window, its pixels in proportion.

        Raises
        ------
        NoPicture
            If there is no such slice, or it cannot be decoded.
        Retryable
            If no process can be started that decodes.
        """
        plane, stack = self._plane(case_id, index)
        grey = np.rint(window(plane.astype(np.float32)) * 255).astype(np.uint8)
        return _png(in_proportion(Image.fromarray(grey), stack.spacing_mm))

    def mask_png(self, case_id: int, index: int) -> bytes:
        """Return what was outlined on a slice, transparent elsewhere; one pixel if nothing was.

        Raises
        ------
        NoPicture, Retryable
            As `slice_png`.
        """
        mask = self._mask(self._key(case_id)).get(index)
        if mask is None:
            return _NOTHING
        _, stack = self._plane(case_id, index)
        return _png(in_proportion(painted(mask), stack.spacing_mm))

    def sides(self, case_id: int, index: int) -> dict[str, str]:
        """Return which side of the patient is left, right, top and bottom of a slice."""
        return sides(self._plane(case_id, index)[1].orientation)

    def thumb(self, case_id: int, index: int, *, plain: bool = False) -> bytes:
        """Return the head on a slice, small, as JPEG: with what is outlined, or plain.

        Raises
        ------
        NoPicture, Retryable
            As `slice_png`.
        """
        key = self._key(case_id)
        with self._drawing_thumb:  # one at a time, so that an opened study waits for one at most
            if (key, plain) not in self._thumbs:
                self._thumbs[key, plain] = self._drawn(case_id, index, plain)
                while len(self._thumbs) > THUMBS:
                    self._thumbs.popitem(last=False)
            return self._thumbs[key, plain]

    def _drawn(self, case_id: int, index: int, plain: bool) -> bytes:
        plane, stack = self._plane(case_id, index, with_others=False)
        grey = np.rint(BRAIN(plane.astype(np.float32)) * 255).astype(np.uint8)
        picture = Image.fromarray(grey).convert("RGB")
        mask = self._mask(self._key(case_id)).get(index)
        if mask is not None and not plain:
            laid = painted(mask).convert("RGBA")
            picture.paste(laid, mask=laid)
        head = in_proportion(picture.crop(_head(plane)), stack.spacing_mm)
        head.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
        square = Image.new("RGB", (THUMB, THUMB))
        square.paste(head, ((THUMB - head.width) // 2, (THUMB - head.height) // 2))
        out = io.BytesIO()
        square.save(out, "JPEG", quality=88)
        return out.getvalue()

    # --- from the case's folder -------------------------------------------------------------------

    def _folder(self, case_id: int) -> CaseFolder:
        folder = case_folder(case_id)
        return CaseFolder(self._depot.seen(folder), folder)

    def _key(self, case_id: int) -> Key:
        written = self._folder(case_id).written_at()
        if written is None:
            raise NoPicture("no series was chosen for this case yet")
        return case_id, written

    def _plan(self, case_id: int) -> SeriesPlan:
        plan = self._folder(case_id).read_plan_as_read()
        if plan is None:
            raise NoPicture("no series was chosen for this case yet")
        return plan

    def _mask(self, key: Key) -> dict[int, Mask]:
        """Return the (y, x) masks of the slices on which something is outlined."""
        with self._lock:
            if key not in self._masks:
                mask = self._folder(key[0]).read_mask()
                planes = () if mask is None else np.flatnonzero(mask.any(axis=(1, 2)))
                self._masks[key] = (
                    {int(z): mask[z].copy() for z in planes} if mask is not None else {}
                )
                while len(self._masks) > THUMBS:
                    self._masks.popitem(last=False)
            return self._masks[key]

    # --- decoding ---------------------------------------------------------------------------------

    def _plane(self, case_id: int, index: int, *, with_others: bool = True) -> tuple[Plane, Stack]:
        """Return one slice, (y, x) HU, and the stack that it is of, or a stack of it alone."""
        key = self._key(case_id)
        stack = self._kept(key)
        if stack is None:
            plan = self._plan(case_id)
            if with_others:
                self._fetch(key, plan)
            stack, index = self._alone(plan, index), 0
        if not 0 <= index < len(stack.hu):
            raise NoPicture(f"the series has no slice {index + 1}")
        return stack.hu[index], stack

    def _kept(self, key: Key) -> Stack | None:
        with self._lock:
            if key in self._stacks:
                self._stacks.move_to_end(key)
            return self._stacks.get(key)

    def _alone(self, plan: SeriesPlan, index: int) -> Stack:
        if not 0 <= index < len(plan.slices):
            raise NoPicture(f"the series has no slice {index + 1}")
        only = _placed(plan.slices[index])
        with self._decoding:
            return Stack.of(self._decoded(self._quick, replace(plan, slices=(only,), copies=())))

    def _decoded(self, decode: Decoder, plan: SeriesPlan) -> Volume:
        try:
            self._depot.bring_all(ref.path for ref in (*plan.slices, *plan.copies))
            return decode(plan, self._depot.root)
        except Refused as error:
            raise NoPicture(f"the images cannot be shown: {error}") from error
        except OSError as error:
            raise NoPicture("the images are no longer on this node's disk") from error

    def _fetch(self, key: Key, plan: SeriesPlan) -> None:
        """Have the whole series decoded; single slices do until then, or if it cannot be."""
        if any(ref.position_mm is None for ref in plan.slices):
            return
        with self._lock:
            if key not in self._coming:
                if len(self._coming) > THUMBS:
                    self._coming.clear()
                with suppress(RuntimeError):  # closed
                    self._coming[key] = self._loader.submit(self._load, key, plan)

    def _load(self, key: Key, plan: SeriesPlan) -> None:
        try:
            stack = Stack.of(self._decoded(self._whole, replace(plan, copies=())))
        except (NoPicture, Retryable):
            return
        with self._lock:
            self._stacks[key] = stack
            while len(self._stacks) > 1 and _bytes(self._stacks.values()) > self._bytes:
                gone, _ = self._stacks.popitem(last=False)
                self._coming.pop(gone, None)


def _bytes(stacks: Iterable[Stack]) -> int:
    return sum(stack.hu.nbytes for stack in stacks)


def _placed(ref: SliceRef) -> SliceRef:
    """Return the slice with a position: one alone is shown wherever it lies."""
    return replace(ref, position_mm=ref.position_mm or NOWHERE)


def _head(plane: Plane) -> tuple[int, int, int, int]:
    """Return the box of the head on a slice, with a margin: left, top, right, bottom.

    A row or column belongs to it if a twentieth of it is tissue, so that the table does not.
    """
    tissue = plane > HEAD_HU
    box = []
    for axis in (0, 1):
        filled = np.flatnonzero(tissue.mean(axis=axis) > 0.05)
        long = tissue.shape[1 - axis]
        first, last = (filled[0], filled[-1]) if len(filled) else (0, long - 1)
        box.append((max(0, int(first) - 4), min(long, int(last) + 5)))
    (left, right), (top, bottom) = box
    return left, top, right, bottom


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return out.getvalue()


_NOTHING = _png(Image.new("LA", (1, 1)))
