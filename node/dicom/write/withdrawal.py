"""That a result is withdrawn: both structured reports, and a rejection note for who asks for one.

The reports have the form of those on a series that was not analysed, since nothing is known of it.
They name the withdrawn documents as predecessors (PS3.3 C.17.2) and every withdrawn object in
words, since only documents can be predecessors.

The rejection note is a Key Object Selection (PS3.3 A.35.4, TID 2010) by which an archive that knows
IHE's Imaging Object Change Management hides what it names (RAD TF-3, 4.66).
"""

from collections.abc import Sequence
from functools import partial
from hashlib import sha256

from highdicom.ko import KeyObjectSelection
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from node.dicom.write import codes, measurement_groups, sr, text_sr
from node.dicom.write.capture import capture
from node.dicom.write.document import observer, one_of, replaces_all
from node.dicom.write.document import partial as incomplete
from node.dicom.write.picture import draw_not_analysed
from node.dicom.write.source import Imprint, Source, imprint, local_time
from node.records import ReportObject, Withdrawal
from node.states import Reason
from node.wording import (
    RESEARCH_USE_ONLY,
    WITHDRAWN,
    WITHDRAWN_HEADLINE,
    ascii_text,
    plainly,
)

DOCUMENTS = (Comprehensive3DSRStorage, BasicTextSRStorage)
PICTURES = (SegmentationStorage, SecondaryCaptureImageStorage)
"""The SOP classes of our objects that a reference names as images."""


def withdrawal(
    source: Source, said: Withdrawal, gone: Sequence[ReportObject], *, rejects: bool
) -> dict[str, Dataset]:
    """Return the objects that withdraw others, by kind, ready to be saved.

    Parameters
    ----------
    gone
        The withdrawn objects that an archive may have.
    rejects
        Whether a rejection note is asked for.
    """
    uids = "".join(item.sop_instance_uid for item in gone)
    mark = partial(
        Imprint,
        title=WITHDRAWN_HEADLINE,
        when=said.at,
        reason_code=Reason.WITHDRAWN,
        content=sha256(f"{said.who}\0{said.why}\0{uids}".encode()).hexdigest(),
    )
    objects = {
        "sr": _report(source, mark("sr"), said, gone),
        "text": _text(source, mark("text"), said, gone),
        "capture": capture(source, _picture(source, said), (), mark("capture")),
    }
    if rejects and gone:
        objects["rejection"] = _rejection_note(source, mark("rejection"), said, gone)
    return objects


def _report(
    source: Source, mark: Imprint, said: Withdrawal, gone: Sequence[ReportObject]
) -> Dataset:
    """Return the structured report that withdraws objects, ready to be saved."""
    group = measurement_groups.not_analysed(source, mark)
    conclusion = f"{WITHDRAWN}. {_sentence(said)}"
    ds = sr.report(source, mark, [group], conclusion, [*_named(gone), RESEARCH_USE_ONLY], None)
    return replaces_all(incomplete(ds, "Withdrawn"), source, _documents(gone))


def _text(source: Source, mark: Imprint, said: Withdrawal, gone: Sequence[ReportObject]) -> Dataset:
    """Return the plain report that withdraws objects, ready to be saved."""
    conclusions = [WITHDRAWN, _sentence(said), plainly(mark.reason_code), RESEARCH_USE_ONLY]
    found = _named(gone) or ["Nothing of the withdrawn result is known to have left."]
    ds = text_sr.report(source, mark, conclusions, found, None)
    return replaces_all(incomplete(ds, "Withdrawn"), source, _documents(gone))


def _rejection_note(
    source: Source, mark: Imprint, said: Withdrawal, gone: Sequence[ReportObject]
) -> Dataset:
    """Return the rejection note of these objects, at least one, ready to be saved."""
    root = KeyObjectSelection(
        codes.REJECTED,
        [_referenced(item) for item in gone],
        observer_device_context=observer(source, mark),
        description=ascii_text(f"{WITHDRAWN}. {_sentence(said)}. {RESEARCH_USE_ONLY}"),
    )[0]
    for item in root.ContentSequence:
        if "ReferencedSOPSequence" in item:
            del item.ConceptNameCodeSequence  # TID 2010, rows 8 to 10, has no purpose of reference
    ds = Dataset()
    ds.update(root)
    ds.SOPClassUID = KeyObjectSelectionDocumentStorage
    ds.Modality = "KO"
    imprint(ds, source, mark)
    ds.ReferencedPerformedProcedureStepSequence = []
    study = Dataset()
    study.StudyInstanceUID = source.plan.study_instance_uid
    study.ReferencedSeriesSequence = [one_of(item) for item in gone]
    ds.CurrentRequestedProcedureEvidenceSequence = [study]
    return ds


def _picture(source: Source, said: Withdrawal) -> Image.Image:
    at = local_time(said.at, source.first)
    by = f"Withdrawn by {said.who} on {at:%Y-%m-%d} at {at:%H:%M}."
    return draw_not_analysed("Read this study as usual.", said.why, [by], WITHDRAWN)


def _sentence(said: Withdrawal) -> str:
    text = str(said)
    return text[0].upper() + text[1:]


def _named(gone: Sequence[ReportObject]) -> list[str]:
    """Return each withdrawn object in words."""
    return [f"Withdrawn object: {item.kind} {item.sop_instance_uid}" for item in gone]


def _documents(gone: Sequence[ReportObject]) -> list[ReportObject]:
    return [item for item in gone if item.sop_class_uid in DOCUMENTS]


def _referenced(item: ReportObject) -> Dataset:
    """Return what the template asks of an object to refer to it; it tells images by their size."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = item.sop_class_uid, item.sop_instance_uid
    if item.sop_class_uid in PICTURES:
        ds.Rows = ds.Columns = 1
    return ds
