"""The beginning of a file: DICOM with or without preamble and file meta, or no DICOM."""

import pytest
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from node.dicom.read.header import read_header
from node.dicom.read.part10 import dataset_of, is_dicom
from node.errors import BadObject
from tests.support.builder import HEAD, encoded

IMAGE = HEAD.build()[0]
PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
BEGINNINGS = {
    "preamble without prefix": lambda data: bytes(128) + data[132:],
    "prefix without preamble": lambda data: data[128:],
    "file meta alone": lambda data: data[132:],
    "data set alone": dataset_of,
    "preamble and data set": lambda data: bytes(128) + dataset_of(data),
    "preamble, prefix and data set": lambda data: bytes(128) + b"DICM" + dataset_of(data),
}


@pytest.mark.parametrize("syntax", PLAIN, ids=[uid.name for uid in PLAIN])
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_file_of_an_unusual_beginning_is_read_as_it_should_be(
    beginning: str, syntax: str
) -> None:
    whole = encoded(IMAGE, syntax)
    data = BEGINNINGS[beginning](whole)
    assert is_dicom(data)
    assert read_header(data) == read_header(whole)
    assert dataset_of(data) == dataset_of(whole)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"DICM",
        b"notes: no DICOM",
        b"%PDF-1.7 " + b"x" * 500,
        b"\x89PNG\r\n\x1a\n" + bytes(500),
        bytes(1000),
        b"\x08\x00" * 300,
        b"\x08\x00\x05\x00CS\x0a\x00",
        b"\xff" * 1000,
        dataset_of(encoded(IMAGE))[2:],
    ],
    ids=[
        "empty",
        "prefix",
        "text",
        "PDF",
        "PNG",
        "zeros",
        "eights",
        "one element",
        "ones",
        "shift",
    ],
)
def test_other_files_are_not_taken_for_dicom(data: bytes) -> None:
    assert not is_dicom(data)
    with pytest.raises(BadObject, match="not a DICOM file"):
        read_header(data)


def encapsulated(fragment: bytes) -> bytes:
    """Return an image with compressed pixels, without preamble and file meta information."""
    ds = HEAD.build()[0]
    ds.PixelData = b"\xfe\xff\x00\xe0" + bytes(4) + b"\xfe\xff\x00\xe0"
    ds.PixelData += len(fragment).to_bytes(4, "little") + fragment
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return dataset_of(encoded(ds, JPEGLSLossless))


def shorter() -> bytes:
    """Return an image whose pixels are too few to be uncompressed."""
    ds = HEAD.build()[0]
    ds.PixelData = ds.PixelData[:1000]
    return dataset_of(encoded(ds))


@pytest.mark.parametrize("data", [encapsulated(b"\xff\xd8\xff\xd9"), shorter()])
def test_the_transfer_syntax_of_compressed_pixels_is_never_guessed(data: bytes) -> None:
    assert is_dicom(data)
    with pytest.raises(BadObject, match="no TransferSyntaxUID, and its pixels may be compressed"):
        read_header(data)


def test_file_meta_without_transfer_syntax_is_completed_from_the_data_set() -> None:
    whole = encoded(IMAGE, ImplicitVRLittleEndian)
    meta = whole[132 : len(whole) - len(dataset_of(whole))]
    at = meta.index(b"\2\0\x10\0UI")
    data = bytes(128) + b"DICM" + meta[:at] + meta[at + 8 + meta[at + 6] :] + dataset_of(whole)
    assert read_header(data) == read_header(whole)
