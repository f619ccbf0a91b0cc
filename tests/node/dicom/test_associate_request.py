"""Requests for an association: what is odd is ignored, and each request has an answer."""

import struct

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC

from node.dicom.net.associate_request import (
    AssociateRequest,
    ContextResult,
    NegotiatedContext,
    decode_request,
    encode_acceptance,
)
from node.dicom.net.association import Rejection
from node.dicom.net.pdu import ProtocolError
from tests.support.associating import (
    APPLICATION,
    CT,
    ECHO,
    EXPLICIT,
    IMPLICIT,
    MAXIMUM,
    MR,
    NAMED,
    VERIFICATION,
    context,
    echo_request,
    item,
    items_of,
    request,
)

SERVED = {CT: (EXPLICIT, IMPLICIT), VERIFICATION: (IMPLICIT,)}
OK, NO_CLASS, NO_SYNTAX = ContextResult


def decoded(pdu: bytes) -> AssociateRequest:
    return decode_request(memoryview(pdu)[6:])


def results(contexts: bytes) -> dict[int, ContextResult]:
    asked = decoded(echo_request(contexts=contexts))
    return {number: cx.negotiate(SERVED).result for number, cx in asked.contexts.items()}


@pytest.mark.parametrize(
    ("sent", "title"),
    [
        (b"ICHNODE         ", "ICHNODE"),
        (b"ICHNODE" + bytes(9), "ICHNODE"),
        (b"ICHNODE \0  \0\0\0 \0", "ICHNODE"),
        (b"  ICHNODE       ", "ICHNODE"),
        (b"\0ICHNODE        ", "ICHNODE"),
        (b"ICHNODE\0SOMEOLD!", "ICHNODE"),
        (b"CT 1            ", "CT 1"),
        (b"SIXTEEN_LETTERS_", "SIXTEEN_LETTERS_"),
        (b"R\xd6NTGEN         ", "R\xd6NTGEN"),
        (bytes(16), ""),
    ],
)
def test_titles_are_read_without_their_padding(sent, title):
    asked = decoded(request(called=sent, calling=sent))
    assert (asked.called, asked.calling) == (title, title)


@pytest.mark.parametrize(
    ("contexts", "expected"),
    [
        (ECHO + context(3, CT), {1: OK, 3: NO_SYNTAX}),
        (ECHO + context(3, MR), {1: OK, 3: NO_CLASS}),
        (ECHO + context(3, MR, IMPLICIT), {1: OK, 3: NO_CLASS}),
        (ECHO + context(3, CT, "1.2.3"), {1: OK, 3: NO_SYNTAX}),
        (ECHO + context(3, None, IMPLICIT), {1: OK, 3: NO_CLASS}),
        (ECHO + context(3, None), {1: OK, 3: NO_CLASS}),
        (ECHO + context(3, "", ""), {1: OK, 3: NO_CLASS}),
        (ECHO + context(3, CT, ""), {1: OK, 3: NO_SYNTAX}),
        (ECHO + context(3, CT, EXPLICIT) + context(3, MR, EXPLICIT), {1: OK, 3: NO_CLASS}),
        (ECHO + context(3, CT, EXPLICIT) * 2, {1: OK, 3: OK}),
        (ECHO + context(3, CT, EXPLICIT, padding=b"\0"), {1: OK, 3: OK}),
        (ECHO + context(3, CT, EXPLICIT, padding=b" \0"), {1: OK, 3: OK}),
        (context(2, CT, IMPLICIT) + context(0, VERIFICATION, IMPLICIT), {2: OK, 0: OK}),
        (ECHO + item(0x20, b"\3\0\0\0" + item(0x30, b"\xff\xfe") + item(0x40, b"\xff")), None),
        (ECHO + item(0x20, b"\3\0\0\0" + item(0x99, b"new") + item(0x30, MR)), None),
    ],
)
def test_each_context_has_its_own_result(contexts, expected):
    assert results(contexts) == (expected or {1: OK, 3: NO_CLASS})


def test_contexts_that_share_an_id_are_answered_once_with_one_syntax():
    asked = decoded(echo_request(contexts=context(3, CT, IMPLICIT) + context(3, CT, EXPLICIT)))
    assert [cx.negotiate(SERVED) for cx in asked.contexts.values()] == [
        NegotiatedContext(OK, CT, EXPLICIT)
    ]


USER_ITEMS = {
    "unknown": item(0x5F, b"what is this"),
    "unknown and empty": item(0xFF, b""),
    "asynchronous operations": item(0x53, struct.pack(">HH", 0, 0)),
    "role": item(0x54, struct.pack(">H", len(CT)) + CT.encode() + b"\1\1"),
    "role that is cut short": item(0x54, b"\0\x40"),
    "extended negotiation": item(0x56, struct.pack(">H", len(CT)) + CT.encode() + b"\2\0\0"),
    "common extended negotiation": item(0x57, struct.pack(">H", len(CT)) + CT.encode() + b"\0\0"),
    "user name": item(0x58, b"\1\1\0\4user\0\0"),
    "user name and passcode": item(0x58, b"\2\0\0\4user\0\4pass"),
    "JSON web token": item(0x58, b"\5\1\x7f\xff" + b"j" * 0x7FFF + b"\0\0"),
    "user identity of an unknown type": item(0x58, b"\x63\1\0\0\0\0"),
    "version name of 23 characters": item(0x55, "A_VERSION_OF_23_LETTERS"),
    "version name that is empty": item(0x55, b""),
    "version name in Latin-1": item(0x55, b"R\xd6NTGEN"),
    "version name in NULs": item(0x55, bytes(16)),
    "class UID that is none": item(0x52, "not.a.uid"),
    "class UID of 80 characters": item(0x52, "1." * 40),
    "zeros": bytes(8),
}


@pytest.mark.parametrize("odd", USER_ITEMS.values(), ids=USER_ITEMS)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_user_information_that_is_not_needed_is_ignored(odd, first):
    user = item(0x50, odd + MAXIMUM + NAMED if first else MAXIMUM + NAMED + odd)
    asked = decoded(request(APPLICATION, ECHO, user))
    assert asked.rejection is None
    assert asked.max_pdu == 16384
    assert asked.contexts.keys() == {1}


@pytest.mark.parametrize("lone", ["", "maximum", "named"])
def test_missing_user_information_is_no_hindrance(lone):
    user = {"": b"", "maximum": item(0x50, MAXIMUM), "named": item(0x50, NAMED)}[lone]
    asked = decoded(request(APPLICATION, ECHO, user))
    assert asked.rejection is None
    assert asked.max_pdu == (16384 if lone == "maximum" else 0)


def test_zeros_at_the_end_are_padding():
    user = item(0x50, MAXIMUM + NAMED + bytes(7))
    asked = decoded(request(APPLICATION, context(1, CT, IMPLICIT), user, bytes(3)))
    assert (asked.rejection, asked.max_pdu) == (None, 16384)


def test_maximum_length_of_another_length_is_none():
    asked = decoded(request(APPLICATION, ECHO, item(0x50, item(0x51, b"\x40\0") + NAMED)))
    assert (asked.rejection, asked.max_pdu) == (None, 0)


def test_items_may_come_in_any_order_and_unknown_ones_among_them():
    user = item(0x50, NAMED + MAXIMUM)
    asked = decoded(request(item(0x77, b"?"), user, ECHO, item(0, b""), APPLICATION))
    assert asked.rejection is None
    assert (asked.max_pdu, asked.contexts.keys()) == (16384, {1})


@pytest.mark.parametrize(
    ("pdu", "rejection"),
    [
        (request(APPLICATION, ECHO, version=0xFFFF), None),
        (request(item(0x10, b"1.2.840.10008.3.1.1.1\0"), ECHO), None),
        (request(item(0x10, b" 1.2.840.10008.3.1.1.1 \0"), ECHO), None),
        (request(APPLICATION, ECHO, version=2), Rejection.PROTOCOL_VERSION_NOT_SUPPORTED),
        (request(b"other", version=0), Rejection.PROTOCOL_VERSION_NOT_SUPPORTED),
        (request(item(0x10, b"1.2.3"), ECHO), Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED),
        (request(item(0x10, b"\xff"), ECHO), Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED),
        (request(ECHO), Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED),
        (request(), Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED),
        (request(APPLICATION), Rejection.NO_PRESENTATION_CONTEXT),
    ],
)
def test_what_is_no_request_for_dicom_is_rejected_with_the_reason(pdu, rejection):
    assert decoded(pdu).rejection == rejection


@pytest.mark.parametrize(
    "pdu",
    [
        request()[:-1],
        request(b"\x10\0\0\x40" + b"1.2"),
        request(APPLICATION, item(0x20, b"\1\0")),
        request(APPLICATION, item(0x20, b"\1\0\0\0\x30\0\0\x40" + b"1.2")),
        request(APPLICATION, ECHO, item(0x50, b"\x51\0\0\4\0")),
        request(APPLICATION, ECHO, b"\x50"),
    ],
)
def test_what_is_cut_short_cannot_be_read(pdu):
    with pytest.raises(ProtocolError, match="cut short"):
        decoded(pdu)


def test_fault_names_who_asks_whom_in_ascii():
    with pytest.raises(ProtocolError, match=r"'CT\\x1b\[1' to 'ICHN\\xd6DE'"):
        decoded(request(b"\x50", calling=b"CT\x1b[1", called=b"ICHN\xd6DE"))


def test_other_tools_read_the_acceptance():
    asked = decoded(echo_request(contexts=ECHO + context(3, MR, IMPLICIT), called=b"ICHNODE\0"))
    contexts = {number: cx.negotiate(SERVED) for number, cx in asked.contexts.items()}
    pdu = A_ASSOCIATE_AC()
    encoded = encode_acceptance(asked, contexts, 65536)
    pdu.decode(encoded)
    answer = pdu.to_primitive()
    answered = answer.presentation_context_definition_results_list
    assert [(cx.context_id, cx.result) for cx in answered] == [(1, 0), (3, 3)]
    assert answer.application_context_name == "1.2.840.10008.3.1.1.1"
    assert encoded[10:26] == b"ICHNODE\0" + b" " * 8, "as sent"


# Whatever a peer sends

BYTES = st.binary(max_size=40)
KINDS = st.one_of(st.integers(0, 255), st.sampled_from([0x10, 0x20, 0x30, 0x40, 0x50, 0x51, 0x58]))
UIDS = st.sampled_from([APPLICATION[4:], CT.encode(), VERIFICATION.encode(), EXPLICIT.encode()])
LEAVES = st.builds(item, KINDS, st.one_of(BYTES, UIDS))
GROUPS = st.builds(
    lambda kind, head, inside: item(kind, head + b"".join(inside)),
    st.sampled_from([0x20, 0x50]),
    st.sampled_from([b"", b"\1\0\0\0", b"\3\0\0\0", b"\0\0\0\0"]),
    st.lists(LEAVES, max_size=6),
)
ITEMS = st.lists(st.one_of(LEAVES, GROUPS, BYTES, st.just(APPLICATION), st.just(ECHO)), max_size=8)
TITLES = st.binary(min_size=16, max_size=16)
REQUESTS = st.builds(
    lambda items, called, calling, version: request(
        *items, called=called, calling=calling, version=version
    ),
    ITEMS,
    TITLES,
    TITLES,
    st.sampled_from([1, 1, 3, 0, 0xFFFF]),
)


@hypothesis_settings(max_examples=300, deadline=None, derandomize=True)
@given(st.one_of(REQUESTS, st.binary(max_size=200)))
def test_every_request_is_accepted_rejected_or_a_protocol_error(pdu):
    try:
        asked = decoded(pdu)
    except ProtocolError as error:
        assert str(error).isascii()
        return
    if asked.rejection is not None:
        assert len(tuple(asked.rejection)) == 3
        return
    contexts = {number: cx.negotiate(SERVED) for number, cx in asked.contexts.items()}
    encoded = encode_acceptance(asked, contexts, 65536)
    assert struct.unpack(">BxL", encoded[:6]) == (2, len(encoded) - 6)
    answered = [value for kind, value in items_of(encoded[74:]) if kind == 0x21]
    assert [value[0] for value in answered] == list(asked.contexts)
    for value in answered:
        ((kind, syntax),) = items_of(value[4:])
        assert (kind, value[2] in (0, 3, 4)) == (0x40, True)
        assert value[2] or syntax.decode() in SERVED[contexts[value[0]].abstract_syntax]


@hypothesis_settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data(), st.permutations([APPLICATION, ECHO, item(0x50, MAXIMUM + NAMED)]))
def test_unknown_items_in_any_place_change_nothing(data, known):
    unknown = st.builds(item, st.sampled_from([0, 0x22, 0x60, 0x9A, 0xFF]), BYTES)
    items = [known[0]]
    for one in known[1:]:
        items += [*data.draw(st.lists(unknown, max_size=3)), one]
    assert decoded(request(*items)) == decoded(request(APPLICATION, ECHO, known[0], *known))
