"""Finds the series of a PACS or of a DICOMweb server, a day at a time, by its index alone.

A day is a part of the search. One association a time; between the hours that are allowed it is
closed. What the index does not tell is empty, and known when the study is read.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import date, timedelta
from functools import partial
from typing import TypeVar

from node.announced import ListedSeries, ListedStudy
from node.archive.finding.gentle import Gentle
from node.archive.finding.series import FoundSeries
from node.archive.finding.store import Store
from node.archive.finding.words import iso_day
from node.arrive.archive import Archive
from node.cases.eligibility import first_objection
from node.dicom.read.header import DAMAGE
from node.dicom.read.makers import SHORTEST, unnamed
from node.errors import IchnodeError, Permanent, Retryable
from node.records import Frame, Header
from node.settings import Assemble

MOST_STUDIES = 100_000
"""CT studies of one day; more are an error. No hospital has them: the server then ignores the day,
or lists something else. Chosen."""

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"

Open = Callable[[], AbstractContextManager[Archive]]
Listed = TypeVar("Listed", ListedStudy, ListedSeries)


def search_server(
    name: str,
    open_archive: Open,
    days: tuple[date, date],
    today: date,
    words: Assemble,
    store: Store,
    gentle: Gentle,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[int, int]]:
    """Search a server from the first to the last of these days; yield how many are done, of all.

    Parameters
    ----------
    today
        This day, and those after it, are searched again at each call: studies are added to them.

    Raises
    ------
    Retryable, Permanent
        If the server does not answer. What was found is kept; the message says how far it came.
    """
    first, last = days
    count = (last - first).days + 1
    for number in range(count):
        day = first + timedelta(days=number)
        part = f"{name}\0{day}"
        if not store.is_done(part):
            try:
                found = _of_day(day, name, open_archive, words, gentle, tell)
            except (IchnodeError, *DAMAGE) as error:
                store.keep()
                said = str(error) if isinstance(error, IchnodeError) else f"{name}: broken answer"
                kind = Permanent if isinstance(error, Permanent) else Retryable
                raise kind(
                    f"{said}; asked for the studies of {day}. {number} of {count} days are done, "
                    "nothing is lost, and the same command goes on there"
                ) from error
            store.add(part, found, ended=day < today)
        yield number + 1, count


def _of_day(
    day: date,
    name: str,
    open_archive: Open,
    words: Assemble,
    gentle: Gentle,
    tell: Callable[[str], None],
) -> list[FoundSeries]:
    """Return the series of a day's CT studies."""
    left: list[ListedStudy] | None = None
    found: list[FoundSeries] = []
    while left is None or left:
        gentle.wait_for_hours(tell)
        with open_archive() as archive:
            if left is None:
                gentle.wait()
                left = _named(_studies(archive, day, name), f"studies of {day}", name, tell)
            while left:
                gentle.wait()
                if not gentle.may():
                    break
                listed = archive.series(left[-1].study_instance_uid)
                series = _named(listed, f"series of {day}", name, tell)
                found += [_found(left[-1], one, name, words) for one in series]
                left.pop()
    return found


def _named(
    listed: Sequence[Listed], what: str, name: str, tell: Callable[[str], None]
) -> list[Listed]:
    """Return those that have a UID; say how many have none, which nobody can ask for."""
    named = [one for one in listed if _uid(one)]
    if less := len(listed) - len(named):
        tell(f"{name} lists {less} {what} without a UID: they are left out")
    return named


def _uid(one: ListedStudy | ListedSeries) -> str:
    return one.study_instance_uid if isinstance(one, ListedStudy) else one.series_instance_uid


def _studies(archive: Archive, day: date, name: str) -> list[ListedStudy]:
    listed, cut_off = archive.performed(f"{day:%Y%m%d}", MOST_STUDIES)
    if cut_off:
        raise Permanent(f"{name} lists more than {MOST_STUDIES} CT studies of {day}")
    return [
        study
        for study in listed
        if (not study.modalities or "CT" in study.modalities)
        and study.study_date in ("", f"{day:%Y%m%d}")
    ]


def _found(study: ListedStudy, one: ListedSeries, name: str, words: Assemble) -> FoundSeries:
    why = _objection(study, one, words)
    numbers = (study.patient_id.casefold(), study.accession_number.casefold())
    nameless = partial(unnamed, identifying=[each for each in numbers if len(each) >= SHORTEST])
    return FoundSeries(
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=one.series_instance_uid,
        source=name,
        patient_id=study.patient_id,
        accession_number=study.accession_number,
        study_date=iso_day(study.study_date),
        modality=one.modality,
        body_part=nameless(one.body_part),
        description=nameless(one.series_description),
        slices=one.images,
        taken=not why,
        why=nameless(why) or "may be a plain head CT, by what the index says",
    )


def _objection(study: ListedStudy, one: ListedSeries, words: Assemble) -> str:
    """Return why a series is not read, by the words of the index; "" if nothing speaks against it.

    One image may hold many slices, and an unknown number enough of them.
    """
    if one.modality not in ("CT", ""):
        return f"no CT images (modality {one.modality})"
    images = one.images if one.images is not None and one.images > 1 else words.min_slices
    frames = (Frame(None, None),) * min(images, words.min_slices)
    header = Header(
        *(CT_IMAGE, "", study.study_instance_uid, one.series_instance_uid, "", frames),
        study_description=study.study_description,
        series_description=one.series_description,
        protocol_name=one.protocol_name,
        body_part=one.body_part,
        modality=one.modality,
    )
    refusal = first_objection((header,), words)
    return refusal.message if refusal else ""
