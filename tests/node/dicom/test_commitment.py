"""Requests and reports of storage commitment that no honest peer sends."""

import struct

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from node.dicom.read.commitment import read_request
from node.dicom.read.sparing import TooManyElements

EMPTY_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0)


def test_a_request_of_more_items_than_memory_is_refused() -> None:
    asked = struct.pack("<HH2sxxL", 8, 0x1199, b"SQ", 0xFFFFFFFF) + EMPTY_ITEM * 250_000
    with pytest.raises(TooManyElements):
        read_request(asked, ExplicitVRLittleEndian)
