"""Load the detector: that of the settings, or of the bundle that a person promoted."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from node.errors import BadConfiguration
from node.log import event
from node.settings import Settings, Triage, bundle_folder, bundle_name
from node.worklist import Bundle, Release

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


def bundle_at(folder: Path) -> Bundle:
    """Return which bundle lies in a folder; its files are not compared with their digests.

    Raises
    ------
    BadConfiguration
        If the folder is no bundle.
    """
    from models import bundle

    try:
        found = bundle.identity(folder)
    except bundle.BundleError as error:
        raise BadConfiguration(str(error)) from error
    return Bundle(bundle_name(folder), found.name, found.version, found.digest)


def with_bundle(settings: Settings, folder: Path) -> Settings:
    """Return settings that differ in their bundle alone."""
    triage = settings.triage.model_copy(update={"bundle": folder})
    return settings.model_copy(update={"triage": triage})


def folder_of(bundle: Bundle, about: str, remedy: str) -> Path:
    """Return where a bundle lies that people decided on.

    Parameters
    ----------
    about, remedy
        What is said of it, and what to do, if it does not lie there.

    Raises
    ------
    BadConfiguration
        If it is gone, or another one lies in its folder.
    """
    folder = bundle_folder(Path(bundle.folder))
    try:
        found = bundle_at(folder)
    except BadConfiguration as error:
        raise BadConfiguration(f"{bundle}, {about}: {error}: {remedy}") from error
    if found.digest != bundle.digest:
        raise BadConfiguration(
            f"{folder} no longer holds {bundle}, {about}, but another bundle, {found}: {remedy}"
        )
    return folder


def with_release(settings: Settings, release: Release | None) -> Settings:
    """Return the settings with the bundle that is in force.

    Parameters
    ----------
    release
        What a person decided last; it stands above the settings, unless it says that they hold.

    Raises
    ------
    BadConfiguration
        If the bundle that was promoted is gone, or another one lies in its folder.
    """
    if release is None or release.by_settings:
        return settings
    since = f"in force since {release.at:%Y-%m-%d %H:%M} UTC by {release.who}"
    remedy = "put it back, or take it back by `ichnode shadow rollback`"
    return with_bundle(settings, folder_of(release.bundle, since, remedy))


class Networks:
    """The networks that are in force: loaded when others come into force, and then kept."""

    def __init__(self) -> None:
        self._loaded: tuple[Triage, Detector] | None = None

    def of(self, settings: Settings) -> "Detector":
        """Return the detector of settings; raises as `load_detector`."""
        if self._loaded is None or self._loaded[0] != settings.triage:
            self._loaded = None  # so that memory holds one at a time
            self._loaded = settings.triage, load_detector(settings)
        return self._loaded[1]
