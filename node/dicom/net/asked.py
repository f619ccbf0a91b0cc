"""What a DIMSE message asks of whoever accepted the association, by its SOP class and command.

A request is told from its command set (PS3.7 E.1), or answered at once by a status: a C-ECHO, a
request under another SOP class than its context's, one that the node does not serve.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from node.dicom.net.association import (
    ACCEPTED_SOP_CLASSES,
    ANNOUNCING_SOP_CLASSES,
    COMMITMENT,
    FIND_SOP_CLASSES,
    GET_SOP_CLASSES,
    MOVE_SOP_CLASSES,
    PROCEDURE_STEP,
    Status,
)
from node.dicom.net.incoming import (
    AttributesRequest,
    CommitmentRequest,
    QueryRequest,
    ReportAnswer,
    Request,
    StoreRequest,
)
from node.dicom.net.message import RESPONSE, Command, Field, Message, number, text

Asked = Request | Status | None
"""What has to be answered, or the answer; None where nothing is answered."""


def asked_by(message: Message, sop_class: str, syntax: str) -> Asked:
    """Return what a message asks under a context of this SOP class and transfer syntax."""
    command = number(message.command, Field.COMMAND_FIELD)
    served = _SERVED.get((sop_class, command))
    if served is None:
        return _ANYWHERE.get(command, Status.UNRECOGNISED_OPERATION)
    if served.named_by and text(message.command, served.named_by) != sop_class:
        return served.refusal
    return served.read(message, sop_class, syntax)


def _store(message: Message, sop_class: str, _syntax: str) -> Request:
    return StoreRequest(
        message_id=number(message.command, Field.MESSAGE_ID),
        context_id=message.context_id,
        sop_class_uid=sop_class,
        sop_instance_uid=text(message.command, Field.AFFECTED_SOP_INSTANCE_UID),
        file=message.dataset,
        dropped=message.dropped,
    )


def _create(message: Message, sop_class: str, syntax: str) -> Request:
    return _attributes(message, sop_class, syntax, Field.AFFECTED_SOP_INSTANCE_UID)


def _set(message: Message, sop_class: str, syntax: str) -> Request:
    return _attributes(message, sop_class, syntax, Field.REQUESTED_SOP_INSTANCE_UID)


def _attributes(
    message: Message, sop_class: str, syntax: str, instance_field: Field
) -> AttributesRequest:
    return AttributesRequest(
        message_id=number(message.command, Field.MESSAGE_ID),
        context_id=message.context_id,
        sop_class_uid=sop_class,
        sop_instance_uid=text(message.command, instance_field),
        transfer_syntax_uid=syntax,
        dataset=_joined(message),
        command=number(message.command, Field.COMMAND_FIELD),
    )


def _query(message: Message, sop_class: str, syntax: str) -> Request:
    return QueryRequest(
        message_id=number(message.command, Field.MESSAGE_ID),
        context_id=message.context_id,
        sop_class_uid=sop_class,
        transfer_syntax_uid=syntax,
        identifier=_joined(message),
        command=number(message.command, Field.COMMAND_FIELD),
        move_destination=text(message.command, Field.MOVE_DESTINATION).strip(),
    )


def _action(message: Message, sop_class: str, syntax: str) -> Request:
    named = (Field.REQUESTED_SOP_INSTANCE_UID, Field.ACTION_TYPE_ID)
    return _commitment(message, sop_class, syntax, *named)


def _event(message: Message, sop_class: str, syntax: str) -> Request:
    named = (Field.AFFECTED_SOP_INSTANCE_UID, Field.EVENT_TYPE_ID)
    return _commitment(message, sop_class, syntax, *named)


def _commitment(
    message: Message, sop_class: str, syntax: str, instance_field: Field, type_field: Field
) -> CommitmentRequest:
    return CommitmentRequest(
        message_id=number(message.command, Field.MESSAGE_ID),
        context_id=message.context_id,
        sop_class_uid=sop_class,
        sop_instance_uid=text(message.command, instance_field),
        transfer_syntax_uid=syntax,
        information=_joined(message),
        type_id=number(message.command, type_field),
        command=number(message.command, Field.COMMAND_FIELD),
    )


def _answered(message: Message, _sop_class: str, _syntax: str) -> Request:
    answered = number(message.command, Field.MESSAGE_ID_BEING_RESPONDED_TO)
    return ReportAnswer(answered, number(message.command, Field.STATUS))


def _joined(message: Message) -> bytes | None:
    """Return a dataset; None if it is longer than attributes or an identifier may be."""
    return None if message.dataset is None else message.dataset.read()


class _Served(NamedTuple):
    """A request that is served; it is refused where it names another SOP class than its context."""

    read: Callable[[Message, str, str], Request]
    named_by: Field | None = Field.AFFECTED_SOP_CLASS_UID
    refusal: Status = Status.SOP_CLASS_NOT_SUPPORTED


_CREATE = _Served(_create, Field.AFFECTED_SOP_CLASS_UID, Status.NO_SUCH_SOP_CLASS)
_SET = _Served(_set, Field.REQUESTED_SOP_CLASS_UID, Status.NO_SUCH_SOP_CLASS)
_ACTION = _Served(_action, Field.REQUESTED_SOP_CLASS_UID, Status.NO_SUCH_SOP_CLASS)
_EVENT = _Served(_event, Field.AFFECTED_SOP_CLASS_UID, Status.NO_SUCH_SOP_CLASS)

_SERVED: Mapping[tuple[str, int], _Served] = {
    **{(uid, Command.C_STORE_RQ): _Served(_store) for uid in ACCEPTED_SOP_CLASSES},
    **{(uid, Command.N_CREATE_RQ): _CREATE for uid in ANNOUNCING_SOP_CLASSES},
    (PROCEDURE_STEP, Command.N_SET_RQ): _SET,
    (COMMITMENT, Command.N_ACTION_RQ): _ACTION,
    (COMMITMENT, Command.N_EVENT_REPORT_RQ): _EVENT,
    (COMMITMENT, Command.N_EVENT_REPORT_RQ | RESPONSE): _Served(_answered, None),
    **{(uid, Command.C_FIND_RQ): _Served(_query) for uid in FIND_SOP_CLASSES},
    **{(uid, Command.C_MOVE_RQ): _Served(_query) for uid in MOVE_SOP_CLASSES},
    **{(uid, Command.C_GET_RQ): _Served(_query) for uid in GET_SOP_CLASSES},
}
"""What serves each request under the SOP class of its context."""

_ANYWHERE: Mapping[int, Status | None] = {
    Command.C_ECHO_RQ: Status.SUCCESS,
    Command.C_CANCEL_RQ: None,  # it has no response, and what it means is answered already
}
"""How a request is answered under every SOP class; any other is answered UNRECOGNISED_OPERATION."""
