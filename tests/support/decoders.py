"""What decoders do when they go wrong. A child process imports this, so it must stay light."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.uid import generate_uid

from models.volume import Volume
from node.dicom.read.pixels import load_volume
from node.errors import Refused
from node.records import SeriesPlan
from node.states import Reason


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def leave() -> None:
    os._exit(3)


def hang() -> None:
    time.sleep(3600)


def exhaust() -> None:
    np.ones(1 << 40, np.uint8)


def refuse() -> None:
    raise Refused(Reason.NOT_HOUNSFIELD, "the values are no Hounsfield units")


def fail() -> None:
    raise ValueError("a mistake of ours")


def name_process() -> None:
    raise ProcessLookupError(os.getpid())


DEEDS: dict[str, Callable[[], None]] = {
    generate_uid(entropy_srcs=[deed.__name__]): deed
    for deed in (crash, leave, hang, exhaust, refuse, fail, name_process)
}
"""By StudyInstanceUID, which `tests.support.builder.uid` makes of the deed's name."""


DEADLY = generate_uid(entropy_srcs=["deadly", "head", "6"])
"""The sixth image of the study "deadly" ends its decoder."""


def load(plan: SeriesPlan, root: Path) -> Volume:
    """Do the deed that the plan's study is named after, if it is, instead of loading it."""
    if any(ref.sop_instance_uid == DEADLY for ref in plan.slices):
        crash()
    if deed := DEEDS.get(plan.study_instance_uid):
        deed()
    return load_volume(plan, root)
