"""The DICOMDIR of a medium: the files that it lists (PS3.3 annex F, PS3.10 clause 8).

Only the references are used, since real media break the rules on directory records, offsets and
characters. What a file is, the file itself says.
"""

from pathlib import Path

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from node.dicom.read.elements import items, text
from node.dicom.read.header import DAMAGE
from node.dicom.read.part10 import read_meta
from node.dicom.read.sparing import read_sparingly
from node.errors import BadObject

NAME = "DICOMDIR"
MOST_READS = 1_000_000
"""How many reads a directory may take: some 30 for a file, so that 30,000 fit, a DVD of them."""


def is_dicomdir(path: Path) -> bool:
    """Return whether the file has the name of a DICOMDIR, in capitals or, as on some media, not."""
    return path.name.upper() == NAME


def referenced_files(path: Path) -> tuple[str, ...]:
    r"""Return the Referenced File IDs, "DICOM\PA1\IM1", each once and in the directory's order.

    Raises
    ------
    BadObject
        If the file cannot be read as a DICOMDIR, or refers to no file.
    """
    try:
        found = _references(path)
    except DAMAGE as error:
        raise BadObject(f"the DICOMDIR is damaged ({error})") from error
    except OSError as error:
        raise BadObject(f"the DICOMDIR cannot be read ({error.strerror or error})") from error
    if not found:
        raise BadObject("the DICOMDIR lists no file")
    return found


def _references(path: Path) -> tuple[str, ...]:
    with path.open("rb") as file:
        try:
            syntax = text(read_meta(file), "TransferSyntaxUID")
        except BadObject as error:
            raise ValueError(str(error)) from error
        if syntax == DeflatedExplicitVRLittleEndian:
            raise BadObject("the DICOMDIR is deflated, which is not accepted")
        ds = read_sparingly(
            file,
            implicit=syntax == ImplicitVRLittleEndian,
            little=syntax != ExplicitVRBigEndian,
            most_reads=MOST_READS,
        )
        listed = [text(entry, "ReferencedFileID") for entry in items(ds, "DirectoryRecordSequence")]
    return tuple(dict.fromkeys(filter(None, listed)))
