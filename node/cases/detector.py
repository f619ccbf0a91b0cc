"""The configured networks, loaded for the worker, for `ichnode analyse` and for the doctor."""

import logging
from typing import TYPE_CHECKING

from node.errors import BadConfiguration
from node.log import event
from node.settings import Settings

if TYPE_CHECKING:
    from models.detector import Detector

logger = logging.getLogger(__name__)


def load_detector(settings: Settings) -> "Detector":
    """Load the configured bundle into its runtime; imports torch or OpenVINO, so it is slow.

    Raises
    ------
    BadConfiguration
        If the bundle is damaged or lacks a reader that is asked for, or this machine the runtime.
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
        )
    except (bundle.BundleError, ValueError) as error:
        raise BadConfiguration(f"triage: {error}") from error
    logger.info(
        "reader loaded", extra=event("reader", bundle=detector.name, runtime=detector.runtime)
    )
    return detector
