"""Why planned images cannot be read as they are: refusals that name the images.

They cross processes: all that they hold is pickled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mode
from typing import Self

from node.errors import Refused
from node.records import SliceRef
from node.states import Reason


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a planned image gives no Hounsfield values; the message names the image."""

    ref: SliceRef
    code: str
    message: str


class Damaged(Refused):
    """Some of the planned images give no Hounsfield values.

    Attributes
    ----------
    faults
        One for each of them. Code and message are those of the most frequent kind.
    """

    def __init__(self, code: str, message: str, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(code, message)
        self.faults = faults

    @classmethod
    def of(cls, faults: Sequence[Fault], planned: int) -> Self:
        """Return the refusal of a series with these faults among its `planned` images."""
        code = mode(fault.code for fault in faults)
        message = next(fault.message for fault in faults if fault.code == code)
        if len(faults) > 1:
            message = f"{len(faults)} of {planned} images cannot be read: {message}"
        return cls(code, message, tuple(faults))


class Doubled(Refused):
    """Different images lie at one position.

    Attributes
    ----------
    images
        By the index of the slice in the plan: the images at its position that differ from one
        another, two or more, in the order of their InstanceNumber.
    """

    def __init__(
        self, code: str, message: str, images: Mapping[int, tuple[SliceRef, ...]] | None = None
    ) -> None:
        super().__init__(code, message)
        self.images = images or {}

    @classmethod
    def of(cls, images: Mapping[int, tuple[SliceRef, ...]]) -> Self:
        """Return the refusal of a series with these images at single positions."""
        first, second, *_ = next(iter(images.values()))
        message = (
            f"images {first.sop_instance_uid} and {second.sop_instance_uid} lie at the same "
            "position and differ; send each scan as a series of its own"
        )
        return cls(Reason.DUPLICATE_POSITION, message, images)


class Crashed(Refused):
    """Decoding ended its process, or took more memory than it may; nobody knows on which image."""
