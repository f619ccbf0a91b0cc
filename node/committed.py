"""What is asked and told of storage commitment (PS3.4 annex J). Frozen; plain values only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class Reference(NamedTuple):
    """An object that a request or a report of commitment names."""

    sop_class_uid: str
    sop_instance_uid: str


class FailureReason(IntEnum):
    """Why an object is not committed: Failure Reason (0008,1197) of PS3.3 C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    REFERENCED_SOP_CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION_UID = 0x0131

    @staticmethod
    def in_words(code: int) -> str:
        """Return a reason as its number and, where PS3.3 knows it, in words."""
        try:
            words = FailureReason(code).name.lower().replace("_", " ")
        except ValueError:
            words = "of no meaning in PS3.3"
        return f"{code:04X}, {words}"


@dataclass(frozen=True, slots=True)
class CommitmentAsked:
    """A request to keep objects."""

    transaction_uid: str
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """Which objects of a request are kept; `failed` holds the others with their failure reason."""

    transaction_uid: str
    committed: Sequence[Reference]
    failed: Mapping[Reference, int]
