"""Load the configured detector, for the worker, for `ichnode analyse` and for the doctor."""

import logging
from typing import TYPE_CHECKING

from node.errors import BadConfiguration
from node.log import event
from node.settings import Settings

if TYPE_CHECKING:
    from models.detector import Detector

logger = logging.getLogger(__name__)


def load_detector(settings: Settings) -> "Detector":
    """Return the configured bundle's detector; slow, since it imports torch or OpenVINO.

    Raises
    ------
    BadConfiguration
        If the bundle is damaged, it lacks a network or the operating point that is asked for, or
        this machine lacks the runtime.
    """
    from models import bundle

    chosen = settings.triage
    try:
        detector = bundle.load_detector(
            chosen.bundle,
            chosen.runtime,
            settings.data_dir / "cache",
            subtypes=chosen.subtypes,
            key_slice=chosen.key_slice,
            operating_point=chosen.operating_point,
        )
    except (bundle.BundleError, ValueError) as error:
        raise BadConfiguration(f"triage: {error}") from error
    logger.info(
        "detector loaded", extra=event("detector", bundle=detector.name, runtime=detector.runtime)
    )
    return detector
