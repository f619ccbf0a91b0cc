"""What a DIMSE message asks of whoever accepted the association, by its SOP class and command.

A request is told from its command set (PS3.7 E.1), or answered at once by a status: a C-ECHO, a
request under another SOP class than its context's, one that the node does not serve.
"""

from collections.abc import Callable, Mapping

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
    read = _READ.get((sop_class, command)) or _ANYWHERE.get(command, _refuse)
    return read(message, sop_class, syntax)


def _store(message: Message, sop_class: str, _syntax: str) -> Asked:
    if text(message.command, Field.AFFECTED_SOP_CLASS_UID) != sop_class:
        return Status.SOP_CLASS_NOT_SUPPORTED
    return StoreRequest(
        message_id=number(message.command, Field.MESSAGE_ID),
        context_id=message.context_id,
        sop_class_uid=sop_class,
        sop_instance_uid=text(message.command, Field.AFFECTED_SOP_INSTANCE_UID),
        file=message.dataset,
        dropped=message.dropped,
    )


def _create(message: Message, sop_class: str, syntax: str) -> Asked:
    if text(message.command, Field.AFFECTED_SOP_CLASS_UID) != sop_class:
        return Status.NO_SUCH_SOP_CLASS
    return _attributes(message, sop_class, syntax, Field.AFFECTED_SOP_INSTANCE_UID)


def _set(message: Message, sop_class: str, syntax: str) -> Asked:
    if text(message.command, Field.REQUESTED_SOP_CLASS_UID) != sop_class:
        return Status.NO_SUCH_SOP_CLASS
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


def _query(message: Message, sop_class: str, syntax: str) -> Asked:
    if text(message.command, Field.AFFECTED_SOP_CLASS_UID) != sop_class:
        return Status.SOP_CLASS_NOT_SUPPORTED
    return QueryRequest(
        message_id=number(message.command, Field.MESSAGE_ID),
        context_id=message.context_id,
        sop_class_uid=sop_class,
        transfer_syntax_uid=syntax,
        identifier=_joined(message),
        command=number(message.command, Field.COMMAND_FIELD),
        move_destination=text(message.command, Field.MOVE_DESTINATION).strip(),
    )


def _action(message: Message, sop_class: str, syntax: str) -> Asked:
    if text(message.command, Field.REQUESTED_SOP_CLASS_UID) != sop_class:
        return Status.NO_SUCH_SOP_CLASS
    named = (Field.REQUESTED_SOP_INSTANCE_UID, Field.ACTION_TYPE_ID)
    return _commitment(message, sop_class, syntax, *named)


def _event(message: Message, sop_class: str, syntax: str) -> Asked:
    if text(message.command, Field.AFFECTED_SOP_CLASS_UID) != sop_class:
        return Status.NO_SUCH_SOP_CLASS
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


def _answered(message: Message, _sop_class: str, _syntax: str) -> Asked:
    answered = number(message.command, Field.MESSAGE_ID_BEING_RESPONDED_TO)
    return ReportAnswer(answered, number(message.command, Field.STATUS))


def _echo(_message: Message, _sop_class: str, _syntax: str) -> Asked:
    return Status.SUCCESS


def _cancel(_message: Message, _sop_class: str, _syntax: str) -> Asked:
    """Return nothing: a C-CANCEL has no response, and what it means is answered already."""
    return None


def _refuse(_message: Message, _sop_class: str, _syntax: str) -> Asked:
    return Status.UNRECOGNISED_OPERATION


def _joined(message: Message) -> bytes | None:
    """Return a dataset; None if it is longer than attributes or an identifier may be."""
    return None if message.dataset is None else message.dataset.read()


_Read = Callable[[Message, str, str], Asked]

_READ: Mapping[tuple[str, int], _Read] = {
    **{(uid, Command.C_STORE_RQ): _store for uid in ACCEPTED_SOP_CLASSES},
    **{(uid, Command.N_CREATE_RQ): _create for uid in ANNOUNCING_SOP_CLASSES},
    (PROCEDURE_STEP, Command.N_SET_RQ): _set,
    (COMMITMENT, Command.N_ACTION_RQ): _action,
    (COMMITMENT, Command.N_EVENT_REPORT_RQ): _event,
    (COMMITMENT, Command.N_EVENT_REPORT_RQ | RESPONSE): _answered,
    **{(uid, Command.C_FIND_RQ): _query for uid in FIND_SOP_CLASSES},
    **{(uid, Command.C_MOVE_RQ): _query for uid in MOVE_SOP_CLASSES},
    **{(uid, Command.C_GET_RQ): _query for uid in GET_SOP_CLASSES},
}
"""What reads each request under the SOP class of its context."""

_ANYWHERE: Mapping[int, _Read] = {Command.C_ECHO_RQ: _echo, Command.C_CANCEL_RQ: _cancel}
"""What reads a request under every SOP class; any other is answered UNRECOGNISED_OPERATION."""
