"""A canary's way: it is sent through the node's own door, read back, judged, and removed."""

import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from node.canary import phantom
from node.canary.judging import judge
from node.case_folder import CaseFolder
from node.depot import depot_of
from node.dicom.net.store_scu import send_files
from node.dicom.read.identity import read_identity
from node.dicom.write.ct import new_study
from node.errors import BadObject, IchnodeError, Retryable
from node.settings import Destination, Settings
from node.worklist import CANARY_ALARM, Alarms, Canaries, Canary, Row


def send(
    settings: Settings, canaries: Canaries, alarms: Alarms, clock: Callable[[], datetime]
) -> None:
    """Send a phantom through the node's own door, unless one is under way.

    Raises
    ------
    Retryable
        If the door did not take it; the alarm is raised.
    """
    if canaries.waiting():
        return
    drawn, uid = phantom.load(), new_study()
    canaries.send(uid, drawn.sha256, clock())
    with tempfile.TemporaryDirectory(prefix="canary-", dir=settings.data_dir) as folder:
        try:
            files = phantom.write(drawn, uid, clock(), Path(folder))
            answers = list(send_files(files, door(settings), settings))
            refused = [one.message or f"status {one.status}" for one in answers if not one.stored]
        except (IchnodeError, OSError) as error:
            refused = [str(error)]
    if refused:
        trouble = f"the node's own door did not take the phantom: {refused[0]}"
        canaries.end(uid, clock(), trouble=trouble)
        alarms.note(CANARY_ALARM, trouble, clock())
        raise Retryable(trouble)


def door(settings: Settings) -> Destination:
    """Return the node's own storage SCP as a peer of this machine."""
    receive = settings.receive
    host = "127.0.0.1" if receive.host in ("0.0.0.0", "::", "") else receive.host
    return Destination(
        name="the node's own door",
        ae_title=receive.ae_title,
        host=host,
        port=receive.port,
        tls=settings.canary.tls,
    )


def watch(
    settings: Settings, canaries: Canaries, alarms: Alarms, clock: Callable[[], datetime]
) -> None:
    """Judge the answers that came, raise or end the alarm, and remove old phantoms."""
    for sent in canaries.waiting():
        _judge(sent, settings, canaries, alarms, clock())
    remove_old(settings, canaries, clock())


def _judge(
    sent: Canary, settings: Settings, canaries: Canaries, alarms: Alarms, now: datetime
) -> None:
    row = canaries.answer(sent.study_instance_uid)
    before = row and row.bundle and canaries.reference(row.bundle, sent.phantom)
    judged = judge(sent, row, before or None, settings.canary, now)
    if judged.waits:
        return
    trouble = judged.trouble
    if row is not None and trouble is None:
        trouble = _unlike_the_phantom(row, settings)
    door_s = None if row is None else row.door_to_flag_s
    uid = sent.study_instance_uid
    canaries.end(uid, now, trouble=trouble, found=judged.found, door_to_flag_s=door_s)
    alarms.note(CANARY_ALARM, trouble or "", now)


def _unlike_the_phantom(row: Row, settings: Settings) -> str | None:
    """Return what is wrong with the report of a phantom, read back from disk; None if nothing is.

    What a destination holds is known by its answer.
    """
    depot = depot_of(settings)
    path = depot.bring(CaseFolder(depot.root, row.folder).object_path("sr"))
    try:
        identity, _ = read_identity(path)
    except BadObject as error:
        return f"the phantom's report cannot be read back: {error}"
    if identity.study_instance_uid != row.study_instance_uid:
        return "the phantom's report is of another study"
    if identity.patient.patient_id != phantom.WORDS:
        return "the phantom's report names another patient"
    return None


def remove_old(settings: Settings, canaries: Canaries, now: datetime) -> None:
    """Delete what is left of phantoms older than `canary.keep_hours`: the files, then the rows."""
    depot = depot_of(settings)
    before = now - timedelta(hours=settings.canary.keep_hours)
    waiting = {one.study_instance_uid for one in canaries.waiting()}
    for uid, files, folders in canaries.old(before):
        if uid in waiting:
            continue
        for path in files:
            depot.drop(path)
        for folder in folders:
            depot.drop_folder(folder)
        canaries.purge(uid, now)
