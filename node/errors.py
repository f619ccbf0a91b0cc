"""All errors, in one tree.

IchnodeError
├── Retryable          the same call may succeed later (a peer is down, a disk is full)
│   ├── Interrupted    a process of the node was ended from outside, whatever the case
│   ├── NoConnection   a peer is out of reach, so that nothing was sent
│   └── Outage         what the node stands on fails, whatever the case (disk, database)
└── Permanent          the same call will fail until a person changes something
    ├── BadObject      received bytes are not a usable DICOM object
    └── BadConfiguration
Refused is a result and not an error: a stage raises it to end early.
"""

from typing import Any


class IchnodeError(Exception):
    """Something failed; the message says what, which case, and what to do."""


class Retryable(IchnodeError):
    """The same call may succeed later."""


class Interrupted(Retryable):
    """A process of the node was ended from outside: nobody knows that the case is at fault."""


class NoConnection(Retryable):
    """There is no connection with a peer: it got nothing."""


class Outage(Retryable):
    """What the node stands on fails now: no case is at fault, and it passes (`node.outages`)."""


class Permanent(IchnodeError):
    """The same call will fail again until a person changes something."""


class BadObject(Permanent):
    """The received bytes are not a DICOM object that the node can file."""


class BadConfiguration(Permanent):
    """A setting is missing or unknown, or contradicts another."""


class Refused(Exception):
    """The case cannot be analysed; the message is the reason that people see.

    Attributes
    ----------
    code
        A `node.states.Reason`: the stable name of the reason.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle all of it, since it crosses processes."""
        return type(self), (self.code, str(self)), self.__dict__
