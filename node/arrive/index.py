"""The patient index: its messages are listened for where a port is set."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

from node.arrive.adt import PatientIndex
from node.arrive.mllp import MllpListener
from node.settings import Settings
from node.worklist import Patients


def patient_index(
    settings: Settings, patients: Patients, clock: Callable[[], datetime]
) -> AbstractContextManager[MllpListener | None]:
    """Return the listener for ADT, or one that does nothing where no port is set."""
    adt = settings.receive.adt
    if not adt.port:
        return nullcontext()
    answer = PatientIndex(settings, patients, clock).answer
    return MllpListener(adt, settings.receive.network_timeout_s, answer)
