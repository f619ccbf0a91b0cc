"""`ichnode analyse`: runs the node's own stages on a folder of files, without network.

The folder goes through a private worklist and spool, so that it is judged as if a PACS had sent it.
One study after the other is read to its end.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from node.archive.corridor import case_folder, describe, ingest, private, read
from node.arrive.media import find
from node.cases.decoding import decoding_process
from node.cases.pipeline import Node
from node.clock import utc_now
from node.errors import BadObject
from node.settings import Settings
from node.wording import counted
from node.worklist import Worklist, upgrade

if TYPE_CHECKING:
    from models.detector import Detector


def analyse(
    path: Path,
    settings: Settings,
    detector: Callable[[], "Detector"],
    out: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
    blame: Callable[[str], None] = lambda _: None,
) -> Iterator[dict[str, Any]]:
    """Yield one object for each study: the worklist's without network fields, and every slice.

    Each is yielded as soon as its study is done.

    Parameters
    ----------
    path
        A DICOM file, or a folder that is searched for them.
    out
        Where each study's report objects and picture go, in a folder by its number.
    tell
        Is called with a line on what is read, and on each file that is no part of it.
    blame
        Is called with a line on each file that should have been used and could not be, and on each
        case whose reading or report failed.

    Raises
    ------
    BadObject
        If the folder holds nothing of DICOM.
    """
    with TemporaryDirectory(prefix="ichnode-") as temporary:
        own = private(settings, Path(temporary))
        upgrade(own.url)
        with Worklist(own.url) as worklist, decoding_process(own.decode) as decode:
            node = Node.on(worklist, own, detector, utc_now, decode)
            node = replace(node, lost_files=_ingest(path, node, tell, blame))
            detector()  # a damaged bundle is this installation's error, not the study's
            studies = [row.study_instance_uid for row in worklist.views.worklist(utc_now())]
            for number, uid in enumerate(studies, start=1):
                row = read(uid, node, blame)
                if out is not None:
                    case_folder(row, node).copy_report(out / str(number))
                yield describe(row, node)


def _ingest(
    path: Path, node: Node, tell: Callable[[str], None], blame: Callable[[str], None]
) -> int:
    """File everything; return how many files should have been used and could not be."""
    found = find(path, all_files=True)
    series, faults = ingest(found, node, tell, blame)
    if not series and not faults:
        files = len(found.files)
        raise BadObject(f"{path} holds no DICOM object that can be filed ({files} files)")
    tell(f"{counted(len(found.files), 'file')}, {series} series")
    return faults
