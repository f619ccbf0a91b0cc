"""Everything that can go wrong, in one tree.

IchnodeError
├── Retryable          the same call may succeed later (a peer is down, a disk is full)
└── Permanent          it will not, until a person changes something
    ├── BadObject      received bytes that are no usable DICOM object
    └── BadConfiguration
NotAnalysed is no error: it is a result, raised to leave a stage early.
"""

from typing import Any


class IchnodeError(Exception):
    """Something failed; the message says what, which case, and what to do."""


class Retryable(IchnodeError):
    """The same call may succeed later."""


class Permanent(IchnodeError):
    """The same call will fail again until a person changes something."""


class BadObject(Permanent):
    """The received bytes are no DICOM object that the node can file."""


class BadConfiguration(Permanent):
    """A setting is missing, unknown or contradicts another."""


class NotAnalysed(Exception):
    """The case cannot be read; the message is the reason that the radiologist and the admin see.

    Attributes
    ----------
    code
        A `node.states.Reason`: the stable name of the reason.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it whole: it crosses processes."""
        return type(self), (self.code, str(self)), self.__dict__
