"""C-FIND, C-MOVE and C-GET of what the node holds (PS3.4 annex C)."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from node.arrive.catalogue import Catalogue, Unready
from node.arrive.spool import StoredBytes
from node.arrive.sub_operations import Send, getting, moving
from node.arrive.vouched import vouched
from node.audit import MOVE_TO, Trail, query_words
from node.depot import depot_of
from node.dicom.archive.apart import Apart
from node.dicom.archive.identifier import (
    Identifier,
    decode_identifier,
    encode_answer,
    encode_failed,
)
from node.dicom.net.acceptor import IncomingAssociation
from node.dicom.net.association import (
    PATIENT_ROOT,
    AssociationLost,
    Status,
    stored_by_peer,
)
from node.dicom.net.incoming import QueryRequest, SubOperations
from node.dicom.net.message import Command
from node.errors import BadObject, IchnodeError
from node.log import event
from node.settings import Settings
from node.worklist import Actor, Archive, ArchivedObject, BadQuery, Deed, Level, Query, matched

logger = logging.getLogger(__name__)

MOST_ANSWERS = 5000
"""How many pending responses a C-FIND gets; one that has more ends with A700. Chosen."""
LOOK_EVERY = 20
"""After how many pending responses a C-CANCEL is looked for."""
_UNIQUE = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}


class Refusal(Exception):
    """A request is not served: with this status and Error Comment."""

    def __init__(self, status: Status, comment: str) -> None:
        super().__init__(comment)
        self.status = status


@dataclass(slots=True)
class Progress:
    """The sub-operations of a retrieval."""

    remaining: int
    completed: int = 0
    warning: int = 0
    failed: list[str] = field(default_factory=list)
    """SOPInstanceUIDs of the objects that were not sent."""

    def note(self, uid: str, status: int | None) -> None:
        """Note how sending an object ended: the peer's status, None if it gave none."""
        self.remaining -= 1
        if status is None or not stored_by_peer(status):
            self.failed.append(uid)
        elif status == Status.SUCCESS:
            self.completed += 1
        else:
            self.warning += 1

    @property
    def counts(self) -> SubOperations:
        """Return the numbers for a response."""
        return SubOperations(self.remaining, self.completed, len(self.failed), self.warning)


class QueryScp:
    """Serves queries and retrievals; threads may share it.

    Parameters
    ----------
    trail
        Takes note of who asks for what; without it nobody does.
    """

    def __init__(self, settings: Settings, archive: Archive, trail: Trail | None = None) -> None:
        self._trail = trail
        self._settings = settings
        self._archive = archive
        self._catalogue = Catalogue(archive, depot_of(settings))
        self._bytes = StoredBytes(depot_of(settings))
        self._apart = Apart(settings.decode)
        self._places = threading.Semaphore(max(1, settings.receive.max_associations // 4))

    def take(self, settings: Settings) -> None:
        """Go by other destinations of C-MOVE from now on."""
        self._settings = settings

    def serve(
        self,
        request: QueryRequest,
        incoming: IncomingAssociation,
        caller: Actor,
        stopping: Callable[[], bool],
    ) -> None:
        """Answer a request to its last response.

        A retrieval takes one of the places that are kept for them, a quarter of all associations:
        however long destinations take, the others are free for who sends images.

        Raises
        ------
        AssociationLost
            If the caller's association ends.
        """
        try:
            asked = self._asked(request)
            self._catalogue.require_current()
            if request.command == Command.C_FIND_RQ:
                self._find(request, incoming, asked, caller)
            elif self._places.acquire(blocking=False):
                try:
                    self._retrieve(request, incoming, asked, caller, stopping)
                finally:
                    self._places.release()
            else:
                raise Refusal(Status.OUT_OF_RESOURCES, "too many retrievals now: try again later")
        except AssociationLost:
            raise
        except Refusal as refusal:
            self._refuse(request, incoming, refusal.status, str(refusal))
        except (BadObject, BadQuery) as error:
            self._refuse(request, incoming, Status.CANNOT_UNDERSTAND, str(error))
        except Unready as error:
            self._refuse(request, incoming, Status.OUT_OF_RESOURCES, str(error))
        except IchnodeError as error:
            logger.error("not answered: %s", error, extra=event("query_failed"))
            self._refuse(request, incoming, Status.CANNOT_UNDERSTAND, str(error))
        except Exception:  # as for C-STORE: whatever it is, the peer must get an answer
            logger.exception("not answered", extra=event("query_failed"))
            why = "internal error, see the node's log"
            self._refuse(request, incoming, Status.CANNOT_UNDERSTAND, why)

    def _refuse(
        self, request: QueryRequest, incoming: IncomingAssociation, status: Status, comment: str
    ) -> None:
        say = event("query_refused", status=f"{status:04X}")
        logger.warning("query refused", extra=say)
        incoming.answer_query(request, status, comment=comment)

    def _asked(self, request: QueryRequest) -> Identifier:
        if request.identifier is None:
            raise Refusal(Status.OUT_OF_RESOURCES, "an identifier of more than 4 MB")
        asked = decode_identifier(request.identifier, request.transfer_syntax_uid)
        levels = [level.value for level in Level]
        if request.sop_class_uid not in PATIENT_ROOT:
            levels.remove(Level.PATIENT)
        if asked.level not in levels:
            raise Refusal(Status.MISMATCH, f"QueryRetrieveLevel must be {', '.join(levels)}")
        return asked

    # --- C-FIND ----------------------------------------------------------------------------------

    def _find(
        self,
        request: QueryRequest,
        incoming: IncomingAssociation,
        asked: Identifier,
        caller: Actor,
    ) -> None:
        level = Level(asked.level)
        keys = {name: value for name, value in asked.keys.items() if name in matched(level)}
        found = self._archive.find(Query(level, keys, MOST_ANSWERS + 1))
        if self._trail is not None:
            about = f"C-FIND {query_words(level, keys, len(found))}"
            study_uid = keys.get("StudyInstanceUID", "")
            self._trail.note(caller, Deed.QUERIED, study_uid=study_uid, about=about)
        told = _COUNTED[level] | matched(level)
        status = Status.PENDING
        if asked.unknown or not set(asked.keys) <= told:
            status = Status.PENDING_IN_PART
        priorities = self._priorities(found[:MOST_ANSWERS], asked, level)
        for number, values in enumerate(found[:MOST_ANSWERS]):
            if number % LOOK_EVERY == 0 and incoming.is_cancelled(request):
                incoming.answer_query(request, Status.CANCELLED)
                return
            identifier = encode_answer(
                values,
                {*asked.keys, _UNIQUE[level]},
                asked.level,
                self._settings.receive.ae_title,
                request.transfer_syntax_uid,
                priorities.get(str(values.get("StudyInstanceUID"))),
            )
            incoming.answer_query(request, status, identifier=identifier)
        if len(found) > MOST_ANSWERS:
            raise Refusal(
                Status.OUT_OF_RESOURCES, f"more than {MOST_ANSWERS} matches: narrow the query"
            )
        incoming.answer_query(request, Status.SUCCESS)

    def _priorities(
        self, found: Sequence[Mapping[str, object]], asked: Identifier, level: Level
    ) -> dict[str, str]:
        if not asked.priority or level is Level.PATIENT:
            return {}
        studies = sorted({str(values["StudyInstanceUID"]) for values in found})
        return {uid: str(said) for uid, said in self._archive.priorities(studies).items()}

    # --- C-MOVE and C-GET ------------------------------------------------------------------------

    def _retrieve(
        self,
        request: QueryRequest,
        incoming: IncomingAssociation,
        asked: Identifier,
        caller: Actor,
        stopping: Callable[[], bool],
    ) -> None:
        if request.command == Command.C_MOVE_RQ:
            send = self._mover(request, caller.name)
        else:
            send = getting(self._bytes, self._apart, incoming)
        found = self._wanted(asked)
        going = vouched(found, self._archive, self._bytes)
        self._note_retrieval(request, caller, going)
        progress = Progress(len(found))
        kept = set(going)
        for one in found:
            if one not in kept:
                progress.note(one.sop_instance_uid, None)
        results = send(going)
        for one, status in results:
            progress.note(one.sop_instance_uid, status)
            if stopping():
                raise AssociationLost("the node stops")
            if not progress.remaining:
                break
            if incoming.is_cancelled(request):
                results.close()
                self._end(request, incoming, progress, Status.CANCELLED)
                return
            incoming.answer_query(request, Status.PENDING, counts=progress.counts)
        status = Status.SUCCESS
        if progress.failed:
            sent = progress.completed + progress.warning
            status = Status.SOME_FAILED if sent else Status.NO_SUB_OPERATIONS
        self._end(request, incoming, progress, status)

    def _note_retrieval(
        self, request: QueryRequest, caller: Actor, going: Sequence[ArchivedObject]
    ) -> None:
        """Note which studies somebody gets, before they leave."""
        if self._trail is None:
            return
        moves = request.command == Command.C_MOVE_RQ
        about = f"{MOVE_TO}{request.move_destination}" if moves else "C-GET"
        for study_uid in dict.fromkeys(one.study_instance_uid for one in going):
            self._trail.note(caller, Deed.RETRIEVED, study_uid=study_uid, about=about)

    def _end(
        self,
        request: QueryRequest,
        incoming: IncomingAssociation,
        progress: Progress,
        status: Status,
    ) -> None:
        failed = b""
        if progress.failed:
            failed = encode_failed(progress.failed, request.transfer_syntax_uid)
        incoming.answer_query(request, status, identifier=failed, counts=progress.counts)
        say = event("retrieved", status=f"{status:04X}", objects=progress.completed)
        logger.info("retrieved", extra=say)

    def _wanted(self, asked: Identifier) -> list[ArchivedObject]:
        """Return the objects of the unique keys; the lowest must be given (PS3.4 C.4.2.2.1)."""
        level = Level(asked.level)
        lowest = _UNIQUE[level]
        if not asked.keys.get(lowest, "").strip("* "):
            raise Refusal(Status.MISMATCH, f"{lowest} is missing")
        keys = {name: asked.keys[name] for name in _UNIQUE.values() if asked.keys.get(name)}
        at = Level.STUDY if level is Level.PATIENT else level
        keys = {name: value for name, value in keys.items() if name in matched(at)}
        rows = self._archive.find(Query(at, keys))
        uids = {name: sorted({str(row[name]) for row in rows if name in row}) for name in _UIDS}
        if not rows:
            return []
        return self._archive.stored(*(uids[name] for name in _UIDS))

    def _mover(self, request: QueryRequest, caller: str) -> Send:
        peers = self._settings.deliver.owed_to(canary=False)
        named = [peer for peer in peers if peer.ae_title.strip() == request.move_destination]
        if not named:
            raise Refusal(Status.UNKNOWN_DESTINATION, "no such AE title among deliver.destinations")
        originator = (caller[:16], request.message_id)
        return moving(self._bytes, self._settings, named[0], originator)


_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_COUNTED: Mapping[Level, frozenset[str]] = {
    Level.PATIENT: frozenset({"NumberOfPatientRelatedStudies"}),
    Level.STUDY: frozenset({"NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"}),
    Level.SERIES: frozenset({"NumberOfSeriesRelatedInstances"}),
    Level.IMAGE: frozenset({"AvailableTransferSyntaxUID"}),
}
"""What is counted, and returned if it is asked for."""
