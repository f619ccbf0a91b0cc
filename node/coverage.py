"""Coverage: an archive is asked which head CTs were performed, and each that never came is listed.

One association a round: a query for the studies of the last hours, and for each study that is new
or has grown one for its series. What a header does not say counts as perhaps a head. A source that
does not answer is said to be unknown; that nothing lacks is never concluded from it.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from node.announced import ListedSeries, ListedStudy, Shows, Told
from node.arrive.archive import Archive, open_index
from node.cases.header_words import body_part
from node.dicom.net.association import ACCEPTED_SOP_CLASSES
from node.dicom.read.header import DAMAGE
from node.errors import IchnodeError
from node.records import Header
from node.settings import Assemble, Settings, Source, source
from node.worklist import Coverage, Known

ANSWER_S = 10.0
"""How long a source may take to connect, to associate and for each answer. Nobody waits for it
meanwhile; chosen."""
MOST_QUERIES = 100
"""Queries below the study in one round; what is left is asked in the next. Chosen, so that a round
after a long silence does not burden an archive."""


def look(settings: Settings, coverage: Coverage, clock: Callable[[], datetime]) -> None:
    """Ask each source of `coverage.ask`, and note what it lists or that it failed.

    Raises
    ------
    IchnodeError
        The first failure of a source, after all were asked.
    """
    failures = []
    for name in settings.coverage.ask:
        try:
            _look(source(name, settings), settings, coverage, clock)
        except (IchnodeError, *DAMAGE) as error:
            said = str(error) if isinstance(error, IchnodeError) else f"{name}: a broken answer"
            coverage.failed(name, said, clock())
            failures.append(error)
    if failures:
        raise failures[0]


def _look(
    asked: Source, settings: Settings, coverage: Coverage, clock: Callable[[], datetime]
) -> None:
    since = clock() - timedelta(hours=settings.coverage.hours)
    known = coverage.known(asked.name)
    with open_index(asked, settings, ANSWER_S) as archive:
        limit = settings.coverage.most_studies
        listed, cut_off = archive.performed(_dates(since, clock()), limit)
        asking = Asking(archive, settings.assemble)
        told = [
            asking.about(study, known.get(study.study_instance_uid))
            for study in sorted(listed, key=lambda one: one.study_instance_uid in known)
            if _is_ct(study) and _is_since(study, since)
        ]
    coverage.told(asked.name, told, clock(), cut_off=cut_off)


class Asking:
    """What one round asks about studies, until its queries are used up."""

    def __init__(self, archive: Archive, words: Assemble) -> None:
        self._archive, self._words = archive, words
        self._left = MOST_QUERIES

    def about(self, study: ListedStudy, known: Known | None) -> Told:
        """Return what the archive says of a study, asked anew where that may tell something new."""
        if known is None:
            return self._series(study) or Told(replace(study, images=None))
        if study.images != known.told_images:
            found = self._series(study)
        elif not known.settled and (study.images is None or (known.here and not known.exact)):
            found = self._series(study, here=known.here)
        else:
            return Told(study, known.shows, known.series, known.exact)
        old = replace(study, images=known.told_images)  # so that the next round asks
        return found or Told(old, known.shows, known.series)

    def _series(self, study: ListedStudy, here: Iterable[str] = ()) -> Told | None:
        """Return what the series say, None if the queries are used up.

        Parameters
        ----------
        here
            Not empty for a study that came: the objects that the node takes are counted one by one.
        """
        if not self._take():
            return None
        ct = [one for one in self._archive.series(study.study_instance_uid) if one.modality == "CT"]
        shown = {one: self._is_head(study, one) for one in ct}
        heads = [one for one, is_head in shown.items() if is_head is not False]
        if ct and not heads:
            return Told(study, Shows.OTHER)
        shows = Shows.HEAD if True in shown.values() else Shows.PERHAPS
        counts = {one.series_instance_uid: one.images for one in heads}
        exact = bool(here)
        for uid in counts if here else ():
            if not self._take():
                exact = False
                break
            counts[uid] = self._taken(study.study_instance_uid, uid)
        return Told(study, shows, counts, exact)

    def _taken(self, study: str, series: str) -> int:
        """Return how many objects of a series the node takes."""
        images = self._archive.images(study, series)
        return sum(sop_class in (*ACCEPTED_SOP_CLASSES, "") for sop_class in images.values())

    def _take(self) -> bool:
        self._left -= 1
        return self._left >= 0

    def _is_head(self, study: ListedStudy, one: ListedSeries) -> bool | None:
        header = Header(
            *("", "", study.study_instance_uid, one.series_instance_uid, "", ()),
            study_description=study.study_description,
            series_description=one.series_description,
            protocol_name=one.protocol_name,
            body_part=one.body_part,
        )
        return body_part(header, self._words)[0]


def _dates(since: datetime, now: datetime) -> str:
    """Return the days from then on as a range; one more, since a scanner's clock may be ahead."""
    first, last = since.astimezone(), now.astimezone() + timedelta(days=1)
    return f"{first:%Y%m%d}-{last:%Y%m%d}"


def _is_ct(study: ListedStudy) -> bool:
    """Return whether a study has CT images; one of which the archive does not say it may."""
    return not study.modalities or "CT" in study.modalities


def _is_since(study: ListedStudy, since: datetime) -> bool:
    """Return whether a study began since then, by this machine's zone; unknown counts as yes."""
    written = f"{study.study_date}{study.study_time[:6]:0<6}"
    try:
        return datetime.strptime(written, "%Y%m%d%H%M%S").astimezone() >= since
    except (ValueError, OverflowError):  # in the zone it is beyond 9999
        return True
