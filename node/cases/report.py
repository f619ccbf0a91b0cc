"""Report: the findings of a case become DICOM objects.

    segmentation       seg.dcm       if a hemorrhage is suspected and outlined
    structured report  sr.dcm        always
    plain report       text.dcm      always
    capture            capture.dcm   always; capture.png beside it if the series was read
    presentation state gsps.dcm      if asked for, where there is a segmentation
    key object note    key.dcm       if asked for, if a hemorrhage is suspected

The same plan, result and time give the same bytes under the same UIDs, so that a stage that is
run again sends each object once. Another result gets other UIDs, so that a UID means the same
object at every peer.
"""

import dataclasses
from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from functools import partial
from io import BytesIO
from pathlib import Path

from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset

from models.findings import Findings
from models.side import Side, side_of
from models.volume import Volume
from node.case_folder import CaseFolder
from node.dicom.read.pixels import Decoder, load_volume
from node.dicom.write.capture import capture, labels
from node.dicom.write.key_object import key_object
from node.dicom.write.picture import Picture, draw, draw_not_analysed, shown_slices
from node.dicom.write.presentation import presentation
from node.dicom.write.seg import segmentation
from node.dicom.write.source import Algorithm, Imprint, Source, local_time, read_source
from node.dicom.write.sr import findings_report, not_analysed_report
from node.dicom.write.text_sr import findings_text, not_analysed_text
from node.dicom.write.withdrawal import withdrawal
from node.errors import Permanent, Refused, Retryable
from node.outcomes import NotAnalysed
from node.records import ReportObject, SeriesPlan, Withdrawal
from node.wording import NOT_ANALYSED_HEADLINE, headline, plainly, replacement


def write_report(
    plan: SeriesPlan,
    result: Findings | NotAnalysed,
    folder: CaseFolder,
    when: datetime,
    decode: Decoder = load_volume,
    also: Container[str] = (),
) -> tuple[ReportObject, ...]:
    """Leave the report of a case in its folder.

    Parameters
    ----------
    plan
        The series that was read, or everything that was received of one that was not.
    result
        What the detector found, or why the series was not read.
    folder
        The case's folder; the paths of the plan and of the returned objects are relative to its
        data folder.
    when
        When the series was read, with an offset from UTC: the date of all objects.
    decode
        Reads the pixels that the capture shows.
    also
        Kinds that are asked for; of "gsps" and "key" only these are made.

    Returns
    -------
    tuple[ReportObject, ...]
        What to deliver; each object has a series of its own.

    Raises
    ------
    Permanent
        If the source is gone from the disk, or its instances name different patients. Then there
        is no identity for a report, so none is written, not even "not analysed".
    Retryable
        If the disk is full or fails.
    """
    # Identity is copied, not judged; and pydicom would log the values that it finds wrong.
    with disable_value_validation():
        objects, picture = _compose(plan, result, folder.root, when, decode, also)
        return _left_in(folder, objects, picture)


def write_withdrawal(
    source: Source,
    said: Withdrawal,
    gone: Sequence[ReportObject],
    folder: CaseFolder,
    *,
    rejects: bool,
) -> tuple[ReportObject, ...]:
    """Leave the report of a case that withdraws objects in its folder; return what to deliver.

    Parameters
    ----------
    gone, rejects
        As in `node.dicom.write.withdrawal.withdrawal`.

    Raises
    ------
    Retryable
        If the disk is full or fails.
    """
    with disable_value_validation():
        return _left_in(folder, withdrawal(source, said, gone, rejects=rejects), None)


def _left_in(
    folder: CaseFolder, objects: Mapping[str, Dataset], picture: bytes | None
) -> tuple[ReportObject, ...]:
    encoded = {kind: _encode(ds) for kind, ds in objects.items()}
    try:
        folder.replace_report(encoded, picture)
    except OSError as error:
        raise Retryable(f"cannot write to {folder.report}: {error.strerror}") from error
    return tuple(_stored(kind, ds, folder) for kind, ds in objects.items())


def _stored(kind: str, ds: Dataset, folder: CaseFolder) -> ReportObject:
    return ReportObject(
        kind=kind,
        path=folder.object_path(kind),
        sop_class_uid=str(ds.SOPClassUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
    )


def _compose(
    plan: SeriesPlan,
    result: Findings | NotAnalysed,
    root: Path,
    when: datetime,
    decode: Decoder,
    also: Container[str],
) -> tuple[dict[str, Dataset], bytes | None]:
    """Return the report's objects by kind, and the picture as PNG if the series was read."""
    source = read_source(plan, root)
    if not isinstance(result, NotAnalysed):
        return _describe(source, result, root, when, decode, also)
    code, said = result.reason_code, result.reason
    mark = Imprint("sr", NOT_ANALYSED_HEADLINE, when, reason_code=code, content=said)
    objects = {"sr": not_analysed_report(source, mark, said)}
    objects["text"] = not_analysed_text(source, dataclasses.replace(mark, kind="text"), said)
    picture = draw_not_analysed(plainly(code), f"{said} ({code})", _said(source, "Decided", when))
    objects["capture"] = capture(source, picture, (), dataclasses.replace(mark, kind="capture"))
    return objects, None


def _describe(
    source: Source,
    findings: Findings,
    root: Path,
    when: datetime,
    decode: Decoder,
    also: Container[str],
) -> tuple[dict[str, Dataset], bytes]:
    """Return the objects of a series that was read, and the picture as PNG."""
    if len(findings.slices) != len(source.plan.slices):
        raise Permanent(
            f"series {source.plan.series_instance_uid}: {len(findings.slices)} slices were read, "
            f"{len(source.plan.slices)} are planned; replay the case from its start"
        )
    mark = partial(
        Imprint,
        title=headline(findings, source.plan.in_part),
        when=when,
        detector=Algorithm.of(findings),
        content=findings.sha256,
    )
    shown = shown_slices(findings)
    volume = _load(source.plan, sorted(shown), root, decode)
    side = _side(findings, volume, sorted(shown))
    objects: dict[str, Dataset] = {}
    if findings.suspected and findings.mask.any():
        objects["seg"] = segmentation(source, findings.mask, mark("seg"))
    seg = objects.get("seg")
    objects["sr"] = findings_report(source, findings, mark("sr"), seg, side)
    objects["text"] = findings_text(source, findings, mark("text"), side)
    picture = _drawn(source, findings, volume, shown, when)
    objects["capture"] = capture(source, picture, shown, mark("capture"))
    if "gsps" in also and seg is not None:
        state = presentation(source, findings, mark("gsps"))
        objects |= {} if state is None else {"gsps": state}
    if "key" in also and findings.suspected:
        others = [objects[kind] for kind in ("seg", "sr") if kind in objects]
        objects["key"] = key_object(source, findings, mark("key"), others)
    png = BytesIO()
    picture.save(png, "PNG", compress_level=1)
    return objects, png.getvalue()


def _side(findings: Findings, volume: Volume, shown: list[int]) -> Side | None:
    """Return the side of what is outlined, as far as the shown slices tell it."""
    if not findings.suspected:
        return None
    return side_of(volume, findings.mask[shown], whole=int(findings.mask.sum()))


def _drawn(
    source: Source, findings: Findings, volume: Volume, shown: Sequence[int], when: datetime
) -> Picture:
    """Return the picture of a series that was read."""
    return draw(
        volume,
        findings,
        shown,
        labels(source, shown),
        _said(
            source,
            f"Read by {findings.bundle}",
            when,
            "Window 40/80 HU. Outlines are approximate; slices that are not shown were read too.",
        ),
        source.plan.in_part,
    )


def _load(plan: SeriesPlan, indices: list[int], root: Path, decode: Decoder) -> Volume:
    """Return only these slices of the plan: decoding takes most of a report's time."""
    few = tuple(plan.slices[index] for index in indices)
    try:
        return decode(dataclasses.replace(plan, slices=few, copies=()), root)
    except Refused as reason:
        raise Permanent(f"pixels that were read can be read no more: {reason}") from reason


def _said(source: Source, what: str, when: datetime, how: str = "") -> list[str]:
    """Return the small print of a picture: what was done and when, and the limitations."""
    done = local_time(when, source.first)
    older = source.plan.replaces
    return [
        f"{what} on {done:%Y-%m-%d} at {done:%H:%M}. {how}".strip(),
        *([replacement(older.later_images, withdrawn=older.withdrawn)] if older else ()),
        *source.plan.scans,
        *(f"Limitation: {text}" for text in source.plan.limitations),
    ]


def _encode(ds: Dataset) -> bytes:
    file = BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()
