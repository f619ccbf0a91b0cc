"""A Key Object Selection (PS3.3 A.35.4, TID 2010) that points to the slice to look at first.

It also names the segmentation and the report, for viewers that list key objects first.
"""

from collections.abc import Sequence

from highdicom.ko import KeyObjectSelection
from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from models.findings import Findings
from node.dicom.write import codes
from node.dicom.write.document import evidence, observer
from node.dicom.write.slices import first_look, reference
from node.dicom.write.source import Imprint, Source, imprint
from node.wording import RESEARCH_USE_ONLY, headline


def key_object(
    source: Source, findings: Findings, mark: Imprint, others: Sequence[Dataset]
) -> Dataset:
    """Return the key object note of a suspected study, ready to be saved.

    Parameters
    ----------
    others
        Objects of this report to which it points beside the slice.
    """
    look = reference(source, source.plan.slices[first_look(findings)])
    root = KeyObjectSelection(
        codes.OF_INTEREST,
        [_image(look), *others],
        observer_device_context=observer(source, mark),
        description=f"{headline(findings)}, unverified. {RESEARCH_USE_ONLY}",
    )[0]
    pointers = [item for item in root.ContentSequence if "ReferencedSOPSequence" in item]
    for item in pointers:
        del item.ConceptNameCodeSequence  # TID 2010, rows 8 to 10, has no purpose of reference
    pointers[0].ReferencedSOPSequence = [look]  # with its frame
    ds = Dataset()
    ds.update(root)
    ds.SOPClassUID = KeyObjectSelectionDocumentStorage
    ds.Modality = "KO"
    imprint(ds, source, mark)
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.CurrentRequestedProcedureEvidenceSequence = [evidence(source, [look], others)]
    return ds


def _image(reference: Dataset) -> Dataset:
    """Return what the template asks of an image to refer to it; it tells images by their size."""
    ds = Dataset()
    ds.SOPClassUID = reference.ReferencedSOPClassUID
    ds.SOPInstanceUID = reference.ReferencedSOPInstanceUID
    ds.Rows = ds.Columns = 1
    return ds
