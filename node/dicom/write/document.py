"""What all SR documents of the node share: flags, evidence, predecessor, observer (PS3.3 C.17)."""

from collections.abc import Sequence

from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dictionary

from node.dicom.write.source import Imprint, Source, imprint, references
from node.records import Predecessor, ReportObject


def document(
    root: Dataset, sop_class_uid: str, source: Source, mark: Imprint, others: Sequence[Dataset]
) -> Dataset:
    """Return an SR document, preliminary, unverified and complete, ready to be saved.

    Parameters
    ----------
    root
        The root of its content tree.
    others
        Objects of this report to which the content refers beside the images.
    """
    ds = Dataset()
    ds.update(root)
    ds.SOPClassUID = sop_class_uid
    ds.Modality = "SR"
    imprint(ds, source, mark)
    ds.CompletionFlag = "COMPLETE"
    ds.VerificationFlag = "UNVERIFIED"
    ds.PreliminaryFlag = "PRELIMINARY"
    ds.PerformedProcedureCodeSequence = []
    ds.ReferencedPerformedProcedureStepSequence = []
    images = references(source)
    ds.CurrentRequestedProcedureEvidenceSequence = [evidence(source, images, others)]
    if older := source.plan.replaces:
        ds.PredecessorDocumentsSequence = [_predecessor(source, older)]
    return ds


def replaces_all(ds: Dataset, source: Source, older: Sequence[ReportObject]) -> Dataset:
    """Return a document after it names just these older documents as its predecessors."""
    ds.pop("PredecessorDocumentsSequence", None)
    if older:
        study = Dataset()
        study.StudyInstanceUID = source.plan.study_instance_uid
        study.ReferencedSeriesSequence = [one_of(item) for item in older]
        ds.PredecessorDocumentsSequence = [study]
    return ds


def one_of(item: ReportObject) -> Dataset:
    """Return an item of a Referenced Series Sequence that names an object of a report."""
    return _one(item.series_instance_uid, item.sop_class_uid, item.sop_instance_uid)


def partial(ds: Dataset, why: str) -> Dataset:
    """Return a document after it says that it is not a whole result, and why."""
    ds.CompletionFlag = "PARTIAL"
    ds.CompletionFlagDescription = f"{why}: this is not a negative result"
    return ds


def observer(source: Source, mark: Imprint) -> ObserverContext:
    """Return the node as the device that observed (TID 1004)."""
    return ObserverContext(
        observer_type=dictionary.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=mark.uid(source, "observer"),
            name="ichnode",
            manufacturer_name="ichnode",
            model_name="ichnode",
        ),
    )


def evidence(source: Source, images: Sequence[Dataset], others: Sequence[Dataset]) -> Dataset:
    """Return the evidence of a document (PS3.3 C.17.2.3).

    Parameters
    ----------
    images
        References to instances of the source.
    others
        Objects of this report, each in a series of its own.
    """
    study = Dataset()
    study.StudyInstanceUID = source.plan.study_instance_uid
    series = Dataset()
    series.SeriesInstanceUID = source.plan.series_instance_uid
    series.ReferencedSOPSequence = list(images)
    study.ReferencedSeriesSequence = [series]
    for ds in others:
        one = _one(ds.SeriesInstanceUID, ds.SOPClassUID, ds.SOPInstanceUID)
        study.ReferencedSeriesSequence.append(one)
    return study


def _predecessor(source: Source, older: Predecessor) -> Dataset:
    """Return a reference to the report that this one replaces (PS3.3 C.17.2)."""
    study = Dataset()
    study.StudyInstanceUID = source.plan.study_instance_uid
    uids = (older.series_instance_uid, older.sop_class_uid, older.sop_instance_uid)
    study.ReferencedSeriesSequence = [_one(*uids)]
    return study


def _one(series_uid: str, sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """Return an item of a Referenced Series Sequence for a series of one instance."""
    series = Dataset()
    series.SeriesInstanceUID = series_uid
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    series.ReferencedSOPSequence = [item]
    return series
