"""Nearly valid inputs: bytes turned, cut, doubled and exchanged; lengths and values that lie."""

import random
import struct
from collections.abc import Sequence

NUMBERS = (0, 1, 2, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 1 << 20, 0x7FFFFFFF)
NUMBERS += (0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
WORDS = (
    *(b"\0", b"\xff" * 4, b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0"),
    *(b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xe0\x7f\x10\x00", b"SQ\0\0\xff\xff\xff\xff", b"UN", b"ZZ"),
    *(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192", b"\x1b$B\xff", b"ISO 2022 IR 87\\ISO 2022 IR 149"),
    *(b"../../../etc/passwd", b"1." * 40, b"\\", b"\\\\\\", b"^=^=^", b"\x1c\r\x0b", b"\xc3\x28"),
    *(b"\xed\xa0\x80", b"\r", b"\n", b"|", b"%00", b"*", b"-", b"'", b"[", b","),
    *(b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x02\x01\x03", b"\x07\0\0\0\0\4\0\0\0\0"),
)
VALUES = (
    *(b"", b"0", b"-0", b"-1", b"1e-300", b"-1e308", b"1e308", b"1e39", b"nan", b"inf", b"1e5"),
    *(b"99999999999999999999", b"1_0", b"0x10", b"\xd9\xa3", b"A", b"\\", b"1\\2", b" ", b"0.0001"),
    *(b"1\\0\\0\\0\\1\\0", b"1e200\\1e200\\0\\1e200\\-1e200\\0", b"0\\0\\0\\0\\0\\0", b"1e9\\0\\0"),
    *(b"1e308\\1e308\\1e308", b"-90\\-100\\1e7", b"1e-9\\1e-9", b"1e6\\1e6", b"14\\1e-3"),
    *(b"\0\0", b"\1\0", b"\x10\0", b"\x20\0", b"\xff\xff", b"\0\x80", b"../x", b"a\0b", b"000D"),
    *(b"999Y", b"99999999", b"00000000", b"19600229", b"HU", b"US", b"COLOR", b"MONOCHROME1"),
)
KEYWORDS = (
    *(b"ImagePositionPatient", b"ImageOrientationPatient", b"PixelSpacing", b"SliceThickness"),
    *(b"RescaleSlope", b"RescaleIntercept", b"RescaleType", b"Rows", b"Columns", b"BitsStored"),
    *(b"BitsAllocated", b"HighBit", b"PixelRepresentation", b"PixelPaddingValue", b"PatientAge"),
    *(b"PixelPaddingRangeLimit", b"NumberOfFrames", b"SamplesPerPixel", b"InstanceNumber"),
    *(b"AcquisitionNumber", b"AcquisitionDate", b"AcquisitionTime", b"ImageType", b"PatientID"),
    *(b"SOPInstanceUID", b"SeriesInstanceUID", b"StudyInstanceUID", b"FrameOfReferenceUID"),
    *(b"PatientBirthDate", b"SpecificCharacterSet", b"ConvolutionKernel", b"BodyPartExamined"),
    *(b"ImagesInAcquisition", b"NumberOfSeriesRelatedInstances", b"Modality", b"PixelData"),
    *(b"PhotometricInterpretation", b"SeriesDescription", b"ContrastBolusAgent", b"StudyDate"),
    *(b"PatientName", b"StudyTime", b"TimezoneOffsetFromUTC", b"PatientSex", b"StudyID"),
    *(b"AccessionNumber", b"Manufacturer", b"SoftwareVersions", b"DeviceSerialNumber"),
    *(b"OtherPatientIDsSequence", b"IssuerOfPatientID", b"PatientBirthTime", b"KVP"),
    *(b"ReferencedStudySequence", b"ReferringPhysicianName", b"StudyDescription", b"PatientAge"),
)
LONGEST = 1 << 16


def mutated(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Return the input with one to six faults.

    Parameters
    ----------
    others
        Inputs that pieces may come from.
    """
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        chance.choice(_FAULTS)(found, others, chance)
    return bytes(found[:LONGEST])


def with_line(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Return the edits of a series (`tests.fuzz.seeds.edited`) with more of them."""
    lines = [line for line in chance.choice([data, *others]).split(b"\n") if line][-8:]
    for _ in range(chance.choice((1, 2, 4))):
        number = chance.choice((b"*", b"*", *(str(n).encode() for n in range(14))))
        value = chance.choice(VALUES)
        if not chance.randrange(8):
            value = b"\\".join(chance.choices(VALUES, k=chance.choice((2, 3, 6))))
        lines.append(b" ".join((number, chance.choice(KEYWORDS), value)))
    return b"\n".join(lines)


def _place(data: bytearray, chance: random.Random) -> int:
    return chance.randrange(len(data) + 1)


def _turn(data: bytearray, _others: Sequence[bytes], chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _number(data: bytearray, _others: Sequence[bytes], chance: random.Random) -> None:
    at, (size, code) = _place(data, chance), chance.choice(((1, "B"), (2, "H"), (4, "L")))
    value = chance.choice(NUMBERS) % (1 << 8 * size)
    data[at : at + size] = struct.pack(chance.choice("<>") + code, value)


def _word(data: bytearray, _others: Sequence[bytes], chance: random.Random) -> None:
    at, word = _place(data, chance), chance.choice(WORDS + VALUES)
    data[at : at + chance.choice((0, len(word)))] = word


def _cut(data: bytearray, _others: Sequence[bytes], chance: random.Random) -> None:
    at = _place(data, chance)
    del data[at : at + chance.choice((1, 2, 8, 64, len(data)))]


def _double(data: bytearray, _others: Sequence[bytes], chance: random.Random) -> None:
    at = _place(data, chance)
    piece = bytes(data[at : at + chance.choice((1, 4, 8, 64, 512))])
    data[at:at] = piece * chance.choice((1, 1, 2, 16, 300))


def _splice(data: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    if others:
        other = chance.choice(others)
        start, at = chance.randrange(len(other) + 1), _place(data, chance)
        data[at : at + chance.choice((0, 8, 64, 512))] = other[start : start + 512]


_FAULTS = (_turn, _turn, _number, _number, _word, _cut, _double, _splice)
