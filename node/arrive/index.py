"""HL7 messages are listened for where a port is set."""

from contextlib import AbstractContextManager, nullcontext

from node.arrive.hl7_desk import Hl7Desk
from node.arrive.mllp import MllpListener
from node.settings import Settings


def listening(settings: Settings, desk: Hl7Desk) -> AbstractContextManager[MllpListener | None]:
    """Return the listener that has the desk answer, or one that does nothing without a port."""
    adt = settings.receive.adt
    if not adt.port:
        return nullcontext()
    return MllpListener(adt, settings.receive.network_timeout_s, desk.answer)
