"""A source of `ichnode pull` as an archive that can be queried, by DIMSE or DICOMweb."""

import os
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

from node.announced import ListedSeries, ListedStudy
from node.dicom.net.association import Status
from node.dicom.net.retrieve import Take, dimse_archive, dimse_index
from node.errors import BadConfiguration
from node.settings import Settings, Source


class Archive(Protocol):
    """A peer that can be queried, and asked to send what it has."""

    def studies(self, accession_number: str) -> list[str]:
        """Return the UIDs of the studies with this accession number."""

    def modalities(self, study: str) -> dict[str, str]:
        """Return the Modality of each series of a study, by its UID."""

    def performed(self, dates: str, limit: int) -> tuple[list[ListedStudy], bool]:
        """Return the CT studies of a range of dates, and whether there are more than `limit`."""

    def series(self, study: str) -> list[ListedSeries]:
        """Return the series of a study."""

    def count(self, study: str, series: str) -> int | None:
        """Return how many objects a series has; 0 if it is unknown, None if it is not told."""

    def images(self, study: str, series: str) -> dict[str, str]:
        """Return the SOP class of each object of a series, by its UID; "" if it is unknown."""

    def fetch(self, study: str, series: str, images: Collection[str] = ()) -> Iterator[int]:
        """Have a series sent, or only these of its images; yield how many have been sent so far."""


def open_index(
    source: Source, settings: Settings, timeout_s: float
) -> AbstractContextManager[Archive]:
    """Return a source's archive to query it alone; raises as `open_archive`."""
    if source.how == "web":
        return _open_web(source, timeout_s, _unasked)
    return dimse_index(source, ae_title=settings.receive.ae_title, timeout_s=timeout_s)


def _unasked(_file: bytes, _named: tuple[str, str]) -> Status:
    return Status.PROCESSING_FAILURE


def open_archive(source: Source, settings: Settings, take: Take) -> AbstractContextManager[Archive]:
    """Return a source's archive, open while the block runs; `take` gets what it sends.

    Raises
    ------
    Retryable
        If there is no connection to it.
    BadConfiguration
        If its secret is not set, or would be sent unencrypted.
    """
    if source.how == "web":
        return _open_web(source, settings.pull.timeout_s, take)
    return dimse_archive(
        source,
        move=source.how == "move",
        ae_title=settings.receive.ae_title,
        timeout_s=settings.pull.timeout_s,
        take=take,
    )


def _open_web(source: Source, timeout_s: float, take: Take) -> AbstractContextManager[Archive]:
    from node.dicom.net.dicomweb import web_archive

    token, login = _secrets(source)
    return web_archive(
        source.url, source.name, token=token, login=login, timeout_s=timeout_s, take=take
    )


def _secrets(source: Source) -> tuple[str, str]:
    """Return the bearer token and the login of a source, from its environment variables."""
    named = (source.token_variable, source.login_variable)
    for name in filter(None, named):
        if not os.environ.get(name):
            raise BadConfiguration(f"{source.name}: the environment variable {name} is not set")
    if any(named) and not _is_private(source.url):
        raise BadConfiguration(
            f"{source.name}: a secret would go over the network in clear; its url must be https"
        )
    token, login = (os.environ[name] if name else "" for name in named)
    return token, login


def _is_private(url: str) -> bool:
    """Return whether the network cannot read what is sent there: it is https, or this machine."""
    parts = urlsplit(url)
    try:
        return parts.scheme == "https" or ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"
