"""The request for an association and the answer that accepts it (PS3.8 9.3.2 and 9.3.3).

pynetdicom does not decode a request in which anything is odd, for example an implementation version
name of more than 16 characters. Here only that is read which the node needs to answer. What PS3.8
D.2 and PS3.7 D.3.3 let an acceptor ignore is skipped unread: unknown items, and user information
that asks for what the node does not offer (an asynchronous operations window, roles, extended
negotiation, a user's identity). An acceptor that offers none of it answers none of it.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from pydicom.uid import ImplicitVRLittleEndian

from node.dicom.net.association import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    Rejection,
)
from node.dicom.net.pdu import HEADER, AbortReason, PduType, ProtocolError

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
"""The DICOM application context name (PS3.7 A.2.1)."""
VERSION_1 = 1
"""The bit of the protocol version; an acceptor tests no other one (PS3.8 9.3.2)."""

_FIXED = struct.Struct(">H2x64s")
"""Protocol version, then the called and the calling AE title and 32 reserved bytes."""
_ITEM = struct.Struct(">BxH")
"""Type and length of an item and of a sub-item."""
_UL = struct.Struct(">L")


class Item(IntEnum):
    """The types of items and sub-items that are read or sent (PS3.8 9.3, PS3.7 D.3.3)."""

    APPLICATION_CONTEXT = 0x10
    PROPOSED_CONTEXT = 0x20
    NEGOTIATED_CONTEXT = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS_UID = 0x52
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION_NAME = 0x55


class ContextResult(IntEnum):
    """What becomes of a proposed presentation context (PS3.8 table 9-18)."""

    ACCEPTED = 0
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(slots=True)
class ProposedContext:
    """A presentation context as proposed. Contexts that share an ID are one, with all they name."""

    abstract_syntaxes: set[str] = field(default_factory=set)
    transfer_syntaxes: set[str] = field(default_factory=set)

    def negotiate(self, served: Mapping[str, Sequence[str]]) -> "NegotiatedContext":
        """Return what becomes of it.

        Parameters
        ----------
        served
            The transfer syntaxes of each abstract syntax that the node serves, the preferred first.
        """
        if len(self.abstract_syntaxes) != 1 or not self.abstract_syntaxes <= served.keys():
            return NegotiatedContext(ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED)
        (abstract,) = self.abstract_syntaxes
        for syntax in served[abstract]:
            if syntax in self.transfer_syntaxes:
                return NegotiatedContext(ContextResult.ACCEPTED, abstract, syntax)
        return NegotiatedContext(ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED)


@dataclass(frozen=True, slots=True)
class NegotiatedContext:
    """A presentation context as answered.

    Attributes
    ----------
    transfer_syntax
        Of an accepted context. A refused one must name one as well, which is not significant.
    """

    result: ContextResult
    abstract_syntax: str = ""
    transfer_syntax: str = ImplicitVRLittleEndian


@dataclass(slots=True)
class AssociateRequest:
    """What a peer asks for, as far as the node answers it.

    Attributes
    ----------
    called, calling
        The AE titles without their padding.
    titles
        Both titles and the 32 reserved bytes behind them, as sent.
    contexts
        The proposed presentation contexts by their IDs.
    max_pdu
        The largest PDU that the peer takes, 0 if it sets no limit.
    scp_roles
        SOP classes of which the peer offers to be the SCP (PS3.7 D.3.3.4), and whether it offers
        to be their SCU as well.
    """

    version: int
    titles: bytes
    application_context: str = ""
    contexts: dict[int, ProposedContext] = field(default_factory=dict)
    max_pdu: int = 0
    scp_roles: dict[str, bool] = field(default_factory=dict)

    @property
    def called(self) -> str:
        """Return the AE title that is asked for."""
        return _title(self.titles[:16])

    @property
    def calling(self) -> str:
        """Return the AE title of the peer."""
        return _title(self.titles[16:32])

    @property
    def abstract_syntaxes(self) -> set[str]:
        """Return the SOP classes of all proposed contexts."""
        return {uid for context in self.contexts.values() for uid in context.abstract_syntaxes}

    @property
    def rejection(self) -> Rejection | None:
        """Return why no DICOM association can be made of it; None if one can."""
        if not self.version & VERSION_1:
            return Rejection.PROTOCOL_VERSION_NOT_SUPPORTED
        if self.application_context != APPLICATION_CONTEXT:
            return Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED
        return None if self.contexts else Rejection.NO_PRESENTATION_CONTEXT


def decode_request(body: memoryview) -> AssociateRequest:
    """Return the request of an A-ASSOCIATE-RQ PDU.

    Raises
    ------
    ProtocolError
        If it is cut short, or an item is longer than what holds it.
    """
    if len(body) < _FIXED.size:
        raise ProtocolError(AbortReason.INVALID_PARAMETER, "a request that is cut short")
    request = AssociateRequest(*_FIXED.unpack_from(body))
    if not request.version & VERSION_1:
        return request  # the items of another version are not known
    try:
        _read_items(request, body[_FIXED.size :])
    except ProtocolError as error:
        by = f"{error}, in the request of {request.calling!a} to {request.called!a}"
        raise ProtocolError(error.reason, by) from error
    return request


def encode_acceptance(
    request: AssociateRequest,
    contexts: Mapping[int, NegotiatedContext],
    max_pdu: int,
    roles: Mapping[str, bool] | None = None,
) -> bytes:
    """Return the A-ASSOCIATE-AC PDU that answers a request.

    Parameters
    ----------
    roles
        SOP classes of which the peer is the SCP, and whether it may be their SCU as well.
    """
    user_information = (
        _item(Item.MAXIMUM_LENGTH, _UL.pack(max_pdu)),
        _item(Item.IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_CLASS_UID.encode()),
        *(_encode_role(uid, scu) for uid, scu in (roles or {}).items()),
        _item(Item.IMPLEMENTATION_VERSION_NAME, IMPLEMENTATION_VERSION_NAME.encode()),
    )
    body = b"".join(
        (
            _FIXED.pack(VERSION_1, request.titles),
            _item(Item.APPLICATION_CONTEXT, APPLICATION_CONTEXT.encode()),
            *(_encode_context(number, context) for number, context in contexts.items()),
            _item(Item.USER_INFORMATION, b"".join(user_information)),
        )
    )
    return HEADER.pack(PduType.ASSOCIATE_AC, len(body)) + body


def _encode_role(sop_class: str, scu: bool) -> bytes:
    uid = sop_class.encode()
    return _item(Item.ROLE_SELECTION, struct.pack(">H", len(uid)) + uid + bytes((scu, 1)))


def _encode_context(number: int, context: NegotiatedContext) -> bytes:
    syntax = _item(Item.TRANSFER_SYNTAX, context.transfer_syntax.encode())
    return _item(Item.NEGOTIATED_CONTEXT, bytes((number, 0, context.result, 0)) + syntax)


def _read_items(request: AssociateRequest, data: memoryview) -> None:
    for kind, value in _items(data):
        if kind == Item.APPLICATION_CONTEXT:
            request.application_context = _uid(value)
        elif kind == Item.PROPOSED_CONTEXT:
            _read_context(request, value)
        elif kind == Item.USER_INFORMATION:
            for sub_kind, sub_value in _items(value):
                if sub_kind == Item.MAXIMUM_LENGTH and len(sub_value) == _UL.size:
                    (request.max_pdu,) = _UL.unpack(sub_value)
                elif sub_kind == Item.ROLE_SELECTION and len(sub_value) > 4 and sub_value[-1] == 1:
                    request.scp_roles[_uid(sub_value[2:-2])] = sub_value[-2] == 1


def _read_context(request: AssociateRequest, item: memoryview) -> None:
    if len(item) < 4:  # the ID and three reserved bytes
        raise ProtocolError(AbortReason.INVALID_PARAMETER, "a context that is cut short")
    context = request.contexts.setdefault(item[0], ProposedContext())
    for kind, value in _items(item[4:]):
        if kind == Item.ABSTRACT_SYNTAX:
            context.abstract_syntaxes.add(_uid(value))
        elif kind == Item.TRANSFER_SYNTAX:
            context.transfer_syntaxes.add(_uid(value))


def _items(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield type and value of each item. Zeros are padding: items of no type and no length."""
    start = 0
    while start + _ITEM.size <= len(data):
        kind, length = _ITEM.unpack_from(data, start)
        start += _ITEM.size + length
        if start > len(data):
            reason = AbortReason.INVALID_PARAMETER
            raise ProtocolError(reason, f"an item of type {kind:02X}H that is cut short")
        yield kind, data[start - length : start]
    if any(data[start:]):
        raise ProtocolError(AbortReason.INVALID_PARAMETER, "an item that is cut short")


def _item(kind: Item, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _uid(value: memoryview) -> str:
    """Return a UID without its padding; one with other characters than ASCII matches none."""
    return bytes(value).strip(b"\0 ").decode("ascii", "replace")


def _title(value: bytes) -> str:
    """Return an AE title without its padding.

    Blanks around it are not significant (PS3.8 9.3.2). Some senders pad it with NUL, or end it with
    one NUL and leave old bytes behind. Other characters than ASCII are kept as Latin-1, so that no
    two titles look alike.
    """
    return value.lstrip(b"\0 ").partition(b"\0")[0].rstrip(b" ").decode("latin-1")
