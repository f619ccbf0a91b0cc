"""`ichnode import`: files from a folder, or from a medium with a DICOMDIR, into the running node.

Only files inside the folder are read: symbolic links and DICOMDIR entries that lead out of it are
refused. The files themselves stay as they are.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

from node.arrive.intake import Intake, LeftOut, is_dicom
from node.dicom.read.dicomdir import NAME, is_dicomdir, referenced_files
from node.errors import BadObject

OUTSIDE_LINK = "a symbolic link leads outside the folder"
MISSING = "missing: the DICOMDIR lists it, and no such file is there"


DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ".ima"})
"""Names that say "DICOM"; most modalities and media give none."""


@dataclass(frozen=True, slots=True)
class Found:
    """The files to import, and what was left out before one was opened."""

    root: Path
    files: Sequence[Path]
    left_out: Sequence[LeftOut] = ()
    listed: frozenset[Path] = frozenset()
    """Those of the files that a DICOMDIR lists."""

    def name(self, file: Path) -> str:
        """Return the file's path below the folder."""
        return str(file.relative_to(self.root))


def find(path: Path, *, all_files: bool = False) -> Found:
    """Return what is to be imported from a file, a folder or a medium.

    Parameters
    ----------
    path
        A file other than a DICOMDIR is taken alone. A folder with a DICOMDIR at its root is a
        medium: the files that the DICOMDIR lists are taken. Of another folder, all files are.
    all_files
        Take the files that the DICOMDIR does not list as well.
    """
    if path.is_file() and not is_dicomdir(path):
        return Found(path.parent, [path])
    root = path.parent if path.is_file() else path
    there, closed = _walk(root)
    files = [file for file in there if not is_dicomdir(file)]
    indexes = [file for file in there if is_dicomdir(file)]
    medium = [file for file in indexes if file.parent == root][:1]
    listed, refused = _listed_by(medium if medium and not all_files else indexes, root)
    by_name = frozenset(listed)
    damaged = any(left.name == NAME for left in refused)
    if not medium or all_files or damaged:
        return Found(root, sorted({*files, *listed}), [*refused, *closed], by_name)
    unlisted = sorted(set(files) - by_name)
    return Found(root, listed, [*refused, *_named(unlisted, root)], by_name)


def file_all(found: Found, intake: Intake) -> Iterator[Path]:
    """File everything; yield each file when that is done, and release the series at the end.

    Raises
    ------
    Retryable
        If the spool or the database cannot take more. Then nothing is released, and the next import
        counts what was filed as "already here".
    """
    intake.left_out += found.left_out
    kin = {_kind_of_name(file) for file in found.files if _may_be(file)}
    for file in found.files:
        expected = (
            file in found.listed
            or file.suffix.lower() in DICOM_SUFFIXES
            or _kind_of_name(file) in kin
        )
        intake.take_file(found.name(file), file, expected=expected)
        yield file
    intake.release()


def _walk(root: Path) -> tuple[list[Path], list[LeftOut]]:
    """Return the files in and below a folder, by name, and what cannot be read of it."""
    files, closed = [], []

    def unreadable(error: OSError) -> None:
        name = os.path.relpath(error.filename, root)
        closed.append(LeftOut(name, f"cannot be read: {error.strerror}"))

    for folder, folders, names in os.walk(root, onerror=unreadable):
        for path in (Path(folder, name) for name in (*folders, *names)):
            if path.is_symlink() and not _within(path, root):
                closed.append(LeftOut(str(path.relative_to(root)), OUTSIDE_LINK))
            elif path.is_file():
                files.append(path)
    return sorted(files), closed


def _named(unlisted: Iterable[Path], root: Path) -> list[LeftOut]:
    """Return the DICOM files among the unlisted ones; a medium's viewer brings others."""
    reason = "the DICOMDIR does not list it (--all-files takes it)"
    return [LeftOut(str(f.relative_to(root)), reason, fault=False) for f in unlisted if _may_be(f)]


def _may_be(file: Path) -> bool:
    """Return whether the file is DICOM; True if it cannot be read."""
    try:
        return is_dicom(file)
    except OSError:
        return True


def _listed_by(indexes: Iterable[Path], root: Path) -> tuple[list[Path], list[LeftOut]]:
    """Return the files that DICOMDIRs list, and what is wrong with them, named below `root`."""
    files, refused = [], []
    for index in indexes:
        folder = index.parent.relative_to(root)
        try:
            listed, wrong = _listed(index)
        except BadObject as error:
            reason = f"{error}: all files are taken, and none that is lost is known of"
            listed, wrong = [], [LeftOut(NAME, reason)]
        files += listed
        refused += [replace(left, name=str(folder / left.name)) for left in wrong]
    return list(dict.fromkeys(files)), refused


def _listed(index: Path) -> tuple[list[Path], list[LeftOut]]:
    """Return the files that a DICOMDIR lists, and its entries that lead to no file.

    Raises
    ------
    BadObject
        If it cannot be read.
    """
    files, refused = [], []
    for file_id in referenced_files(index):
        try:
            files.append(_resolve(index.parent, file_id))
        except BadObject as reason:
            refused.append(LeftOut(file_id, str(reason)))
        except OSError as error:
            refused.append(LeftOut(file_id, f"cannot be read: {error.strerror}"))
    return list(dict.fromkeys(files)), refused


def _resolve(root: Path, file_id: str) -> Path:
    r"""Return the file below `root` that a Referenced File ID such as "DICOM\PA1\IM1" means.

    Raises
    ------
    BadObject
        If it leads outside the folder, or no such file exists.
    """
    parts = [part.strip() for part in re.split(r"[\\/]", file_id)]
    if not parts[0] or PureWindowsPath(parts[0]).drive or ".." in parts:
        raise BadObject("refused: the DICOMDIR names a place outside the folder")
    place = root
    for part in parts:
        place = _entry(place, part)
        if not _within(place, root):
            raise BadObject(f"refused: {OUTSIDE_LINK}")
    if not place.is_file():
        raise BadObject(MISSING)
    return place


def _entry(folder: Path, name: str) -> Path:
    """Return a folder's entry of that name, else one that differs in case and version alone.

    ISO 9660 names have capital letters and end in ";1"; a mount or a copy often drops both.
    """
    if name in ("", "."):
        return folder
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    alike = [path for path in there if _plain(path.name) == _plain(name)]
    if not alike:
        raise BadObject(MISSING)
    return next((path for path in alike if path.name == name), alike[0])


def _plain(name: str) -> str:
    return name.casefold().partition(";")[0].rstrip(".")


def _within(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


def _kind_of_name(file: Path) -> tuple[Path, str]:
    """Return what the names of a series' files in one folder have in common: all but the numbers.

    So an empty IM000007 between IM000006 and IM000008 is known for an image that was lost.
    """
    return file.parent, re.sub(r"\d+", "0", file.name)


def files_in(path: Path) -> list[Path]:
    """Return every file in and below a folder, by name; of a file, the file itself."""
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
