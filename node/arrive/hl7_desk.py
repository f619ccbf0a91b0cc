"""Answers HL7 messages: each kind has one that takes it, and is acknowledged when that is done."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from node.errors import IchnodeError
from node.hl7 import Field, Malformed, Received, control_id, header, segment, timestamp
from node.log import event

logger = logging.getLogger(__name__)

Take = Callable[[Received, bytes], None]
"""Does what a message says, which came as these bytes. It raises Malformed if the message lacks
what its kind needs, IchnodeError or OSError if the node cannot do it now."""
LONGEST_REASON = 80
"""Characters of MSA-3 (HL7 v2.5.1, 2.14.8.3)."""


class Hl7Desk:
    """Answers each message by its kind (MSH-9.1); a kind that nobody takes concerns nothing here.

    Parameters
    ----------
    takers
        Who takes a message, by its kind: "ADT", "ORU".
    """

    def __init__(self, takers: Mapping[str, Take], clock: Callable[[], datetime]) -> None:
        self._takers = takers
        self._clock = clock

    def answer(self, data: bytes) -> bytes:
        """Do what a message says; return the acknowledgement, both without frames.

        It is AA where that is done, or the message concerns nothing here; AR where the message is
        no HL7 or lacks what its kind needs; AE where the node cannot do it now. MSA-3 says why.
        """
        try:
            message = Received.of(data)
        except Malformed as error:
            logger.error("HL7: %s", error, extra=event("hl7_malformed", size=len(data)))
            return self._acknowledge(None, "AR", str(error))
        kind = message.value("MSH", 9)
        try:
            if kind in self._takers:
                self._takers[kind](message, data)
        except Malformed as error:
            say = event("hl7_malformed", kind=kind, size=len(data))
            logger.error("%s: %s", kind, error, extra=say)
            return self._acknowledge(message, "AR", str(error))
        except (IchnodeError, OSError) as error:
            name = type(error).__name__
            logger.error("%s: not done: %s", kind, name, extra=event("hl7_failed", kind=kind))
            return self._acknowledge(message, "AE", "it cannot be done now: send it again")
        return self._acknowledge(message, "AA")

    def _acknowledge(self, message: Received | None, code: str, why: str = "") -> bytes:
        now = self._clock()
        about = message.value("MSH", 10) if message else ""
        version = message.value("MSH", 12) if message else ""
        trigger = message.value("MSH", 9, 2) if message else ""
        fields: dict[int, Field] = {
            3: "ICHNODE",
            5: message.value("MSH", 3) if message else "",
            6: message.value("MSH", 4) if message else "",
            7: timestamp(now),
            9: ("ACK", trigger, "ACK"),
            10: control_id(f"{about} {now.isoformat()}"),
            11: (message.value("MSH", 11) if message else "") or "P",
            12: version or "2.5.1",
            18: "UNICODE UTF-8",
        }
        said: dict[int, Field] = {1: code, 2: about, 3: why[:LONGEST_REASON]}
        return f"{header(fields)}\r{segment('MSA', said)}\r".encode()
