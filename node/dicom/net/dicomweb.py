"""Query and retrieve by DICOMweb: QIDO-RS, then WADO-RS (PS3.18)."""

import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from dicomweb_client.session_utils import create_session, create_session_from_user_pass
from dicomweb_client.web import DICOMwebClient
from pydicom.datadict import tag_for_keyword
from pydicom.errors import InvalidDicomError
from requests import HTTPError, RequestException
from requests.exceptions import InvalidJSONError, SSLError, Timeout

from node.announced import OF_SERIES, OF_STUDY, ListedSeries, ListedStudy
from node.dicom.net.retrieve import Take
from node.dicom.read.header import DAMAGE
from node.errors import Retryable
from node.visible import REPLACEMENT

# They log addresses, which may hold an accession number.
for library in ("dicomweb_client", "urllib3"):
    logging.getLogger(library).setLevel(logging.CRITICAL)

AS_STORED = (("application/dicom", "*"),)
"""The transfer syntax that the archive stores an object in, whichever it is."""
STUDY, SERIES, SOP_INSTANCE = "0020000D", "0020000E", "00080018"
MODALITY, SOP_CLASS = "00080060", "00080016"
_UNTAKEN = re.compile("[\0\ud800-\udfff]")
INSTANCES = "00201209"
"""NumberOfSeriesRelatedInstances."""


@contextmanager
def web_archive(
    url: str, name: str, *, token: str, login: str, timeout_s: float, take: Take
) -> Iterator["WebArchive"]:
    """Yield the archive at a DICOMweb base URL; a certificate is verified as `requests` does.

    Parameters
    ----------
    token, login
        A bearer token, or "user:password"; "" for none.
    take
        Files each object that comes.
    """
    user, _, password = login.partition(":")
    with create_session_from_user_pass(user, password) if login else create_session() as session:
        if token:
            session.headers["Authorization"] = f"Bearer {token}"
        client = DICOMwebClient(url, session, permissive_uid=True, timeout=timeout_s)
        client.set_http_retry_params(retry=False)
        yield WebArchive(client, name, take)


class WebArchive:
    """A DICOMweb server that can be queried, and retrieved from."""

    def __init__(self, client: DICOMwebClient, name: str, take: Take) -> None:
        self._client = client
        self._name = name
        self._take = take

    def studies(self, accession_number: str) -> list[str]:
        """Return the UIDs of the studies with this accession number.

        Raises
        ------
        Retryable
            If the server does not answer with success.
        """
        filters = {"AccessionNumber": accession_number}
        found = self._search(self._client.search_for_studies, search_filters=filters)
        return [_value(item, STUDY) for item in found]

    def modalities(self, study: str) -> dict[str, str]:
        """Return the Modality of each series of a study, by its UID; raises as `studies`."""
        found = self._search(self._client.search_for_series, study)
        return {_value(item, SERIES): _value(item, MODALITY) for item in found}

    def performed(self, dates: str, limit: int) -> tuple[list[ListedStudy], bool]:
        """Return the CT studies of these dates, and whether there are more than `limit`.

        `dates` is a date or a range of dates as DICOM writes them; raises as `studies`. A server
        may list fewer than it is asked for (PS3.18 8.3.4.4): it is asked until none is new.
        """
        found: dict[str, Mapping[str, Any]] = {}
        while len(found) <= limit:
            listed = self._search(
                self._client.search_for_studies,
                limit=limit + 1 - len(found),
                offset=len(found) or None,
                fields=list(OF_STUDY),
                search_filters={"StudyDate": dates, "ModalitiesInStudy": "CT"},
            )
            new = {_value(item, STUDY): item for item in listed if _value(item, STUDY) not in found}
            if not new:
                break
            found |= new
        studies = [ListedStudy.of(partial(_named, item)) for item in found.values()]
        return studies[:limit], len(studies) > limit

    def series(self, study: str) -> list[ListedSeries]:
        """Return the series of a study; raises as `studies`."""
        found = self._search(self._client.search_for_series, study, fields=list(OF_SERIES))
        return [ListedSeries.of(partial(_named, item)) for item in found]

    def count(self, study: str, series: str) -> int | None:
        """Return NumberOfSeriesRelatedInstances of a series; raises as `studies`.

        It is 0 if the server does not know the series, None if it does not tell the number.
        """
        found = self._search(
            self._client.search_for_series,
            study,
            fields=[INSTANCES],
            search_filters={"SeriesInstanceUID": series},
        )
        listed = (ListedSeries.of(partial(_named, item)) for item in found)
        mine = [one.images for one in listed if one.series_instance_uid == series]
        return mine[0] if mine else 0

    def images(self, study: str, series: str) -> dict[str, str]:
        """Return the SOP class of each object of a series, by its UID; raises as `studies`."""
        found = self._search(self._client.search_for_instances, study, series)
        return {_value(item, SOP_INSTANCE): _value(item, SOP_CLASS) for item in found}

    def fetch(self, study: str, series: str, images: Collection[str] = ()) -> Iterator[int]:
        """Fetch a series, or only these of its images; yield how many have come so far.

        Raises
        ------
        Retryable
            If the server refuses, or its answer is cut short or is no DICOM.
        """
        try:
            for number, ds in enumerate(self._objects(study, series, images), start=1):
                named = (str(ds.SOPClassUID), str(ds.SOPInstanceUID))
                self._take(ds.buffer.getvalue(), named)  # the bytes as they came, which `ds` views
                yield number
        except RequestException as error:
            raise Retryable(f"{self._name}: {_why(error)}") from error
        except (InvalidDicomError, *DAMAGE) as error:
            raise Retryable(f"{self._name}: its answer is no DICOM ({error})") from error

    def _objects(self, study: str, series: str, images: Collection[str]) -> Iterator[Any]:
        if not images:
            yield from self._client.iter_series(study, series, AS_STORED)
        for image in sorted(images):
            yield self._client.retrieve_instance(study, series, image, AS_STORED)

    def _search(
        self, search: Callable[..., Any], *uids: str, **filters: Any
    ) -> list[Mapping[str, Any]]:
        try:
            found = list(search(*uids, **filters))
        except RequestException as error:
            raise Retryable(f"{self._name}: {_why(error)}") from error
        except (ValueError, TypeError, RecursionError) as error:
            raise Retryable(f"{self._name}: its answer is no DICOM JSON") from error
        if not all(isinstance(item, Mapping) for item in found):
            raise Retryable(f"{self._name}: its answer is no DICOM JSON")
        return found


def _why(error: RequestException) -> str:
    """Return what went wrong; the address is left out, since it may hold an accession number."""
    if isinstance(error, HTTPError) and error.response is not None:
        code = error.response.status_code
        hint = ": see token_variable and login_variable" if code in (401, 403) else ""
        return f"the server answers {code} {error.response.reason}{hint}"
    if isinstance(error, SSLError):
        return "its TLS certificate is not trusted here, or it speaks no TLS"
    if isinstance(error, InvalidJSONError):
        return "its answer is no DICOM JSON; is it the address of its DICOMweb service?"
    if isinstance(error, Timeout):
        return "the server does not answer in time (pull.timeout_s)"
    return f"no answer from the server ({type(error).__name__})"


def _value(item: Mapping[str, Any], tag: str) -> str:
    """Return an attribute's first value in the DICOM JSON model (PS3.18 F.2)."""
    return next(iter(_values(item, tag)), "")


def _named(item: Mapping[str, Any], keyword: str) -> str:
    """Return an attribute's values as DICOM writes them, by its keyword; "" if it is absent."""
    return "\\".join(_values(item, f"{tag_for_keyword(keyword):08X}"))


def _values(item: Mapping[str, Any], tag: str) -> list[str]:
    """Return an attribute's values as text; none if it is absent, or no attribute.

    NULs and halves of characters, which no database takes, become replacement characters.
    """
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    if not isinstance(values, list):
        return []
    texts = ("" if value is None else str(value) for value in values)
    return [_UNTAKEN.sub(REPLACEMENT, text) for text in texts]
