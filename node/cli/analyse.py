"""`ichnode analyse`: runs the node's own stages on a folder of files, without network.

The folder goes through a private worklist and spool, so that it is judged as if a PACS had sent it.
One study after the other is read to its end.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from node.arrive.intake import Intake
from node.arrive.media import file_all, find
from node.case_folder import CaseFolder
from node.cases.decoding import decoding_process
from node.cases.pipeline import PIPELINE, Node
from node.cases.worker import work_once
from node.clock import utc_now
from node.errors import BadObject
from node.settings import Settings, Storage
from node.states import State
from node.worklist import Row, Worklist, upgrade

if TYPE_CHECKING:
    from models.detector import Detector

NETWORK_FIELDS = (
    *("case_id", "prior", "received_at", "flagged_at", "delivered_at", "door_to_flag_s"),
    *("door_to_pacs_s", "closed_by", "saved_s", "deliveries"),
)
"""Fields of the worklist's JSON that say something only of studies received by network."""


def analyse(
    path: Path,
    settings: Settings,
    detector: Callable[[], "Detector"],
    out: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
    blame: Callable[[str], None] = lambda _: None,
) -> Iterator[dict[str, Any]]:
    """Yield one object for each study: the worklist's without `NETWORK_FIELDS`, and every slice.

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
        private = _private(settings, Path(temporary))
        upgrade(private.url)
        with Worklist(private.url) as worklist, decoding_process(private.decode) as decode:
            node = Node.on(worklist, private, detector, utc_now, decode)
            node = replace(node, lost_files=_ingest(path, node, tell, blame))
            detector()  # a damaged bundle is this installation's error, not the study's
            studies = [row.study_instance_uid for row in worklist.views.worklist(utc_now())]
            for number, uid in enumerate(studies, start=1):
                while work_once(node, "analyse", study_uid=uid):
                    pass
                for fault in _unfinished(worklist.views.history(uid)):
                    blame(fault)
                row = worklist.views.study(uid)
                if out is not None:
                    _folder(row, node).copy_report(out / str(number))
                yield describe(row, node)


def _private(settings: Settings, folder: Path) -> Settings:
    """Return settings that write inside `folder` alone and wait for no more slices."""
    return settings.model_copy(
        update={
            "data_dir": folder,
            "database_url": "",
            "storage": Storage(),
            "assemble": settings.assemble.model_copy(
                update={"grace_s": 0.0, "idle_s": 0.0, "prior_after_days": 0}
            ),
            "work": settings.work.model_copy(update={"max_attempts": 1, "max_interruptions": 0}),
            "receive": settings.receive.model_copy(update={"min_free_mb": 0}),
            "deliver": settings.deliver.model_copy(update={"destinations": ()}),
        }
    )


def _ingest(
    path: Path, node: Node, tell: Callable[[str], None], blame: Callable[[str], None]
) -> int:
    """File everything; return how many files should have been used and could not be."""
    found = find(path, all_files=True)
    intake = Intake(node.settings, node.arrivals, node.clock)
    for _ in file_all(found, intake):
        pass
    faults = 0
    for left in intake.left_out:
        faults += left.fault
        (blame if left.fault else tell)(f"{left.name} is left out: {left.reason}")
    if not intake.series and not faults:
        files = len(found.files)
        raise BadObject(f"{path} holds no DICOM object that can be filed ({files} files)")
    tell(f"{len(found.files)} files, {len(intake.series)} series")
    return faults


def _unfinished(history: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each case of a study that failed, or that no stage could end."""
    for row in history:
        if row.state is State.FAILED or row.state in PIPELINE:
            what = row.reason or f"it stands at {row.state} and was not finished"
            yield (
                f"study {row.study_instance_uid}, series {row.series_instance_uid}: no report was "
                f"written: {what}"
            )


def describe(row: Row, node: Node) -> dict[str, Any]:
    """Return the study's object as `ichnode analyse --json` documents it."""
    values = row.to_json()
    for name in NETWORK_FIELDS:
        del values[name]
    folder = _folder(row, node)
    found = folder.read_findings()
    return {**values, "mimics": list(found.mimics) if found else [], "slices": _slices(folder)}


def _folder(row: Row, node: Node) -> CaseFolder:
    return CaseFolder(node.root, row.folder)


def _slices(folder: CaseFolder) -> list[dict[str, Any]]:
    """Return every source slice in reading order; its probabilities are None if it was not read."""
    plan = folder.read_plan_as_read()
    if plan is None:
        return []
    found = folder.read_findings()
    findings = found.slices if found else None
    return [
        {
            "sop_instance_uid": ref.sop_instance_uid,
            "position_mm": ref.location_mm,
            "probability": findings[index].probability if findings else None,
            "subtypes": findings[index].subtypes if findings else None,
        }
        for index, ref in enumerate(plan.slices)
    ]
