"""Which slice of a series to look at first, and what a viewer calls it."""

import numpy as np
from pydicom.dataset import Dataset

from models.findings import Findings
from node.dicom.write.source import Source
from node.records import SliceRef


def first_look(findings: Findings) -> int:
    """Return the index of the slice to look at first: the key slice, or the most probable one.

    If several are equally probable, it is the middle one of them.
    """
    if findings.key_slice is not None:
        return findings.key_slice
    probability = np.array([finding.probability for finding in findings.slices])
    best = np.flatnonzero(probability == probability.max())
    return int(best[len(best) // 2])


def outlined_slice(findings: Findings) -> int:
    """Return the index of the key slice; if it shows no lesion, of the slice that shows most."""
    key = findings.key_slice
    if key is not None and findings.mask[key].any():
        return key
    return int(findings.mask.sum(axis=(1, 2)).argmax())


def called(source: Source, ref: SliceRef) -> str:
    """Return what a viewer calls a slice, by its InstanceNumber or frame number; "" without one."""
    number = source.headers[ref.sop_instance_uid].instance_number
    if source.in_frames(ref):
        return f"frame {ref.frame_number}"
    return "" if number is None else f"image {number}"


def reference(source: Source, ref: SliceRef) -> Dataset:
    """Return an item that refers to a slice (PS3.3 10.3, Image SOP Instance Reference Macro)."""
    item = Dataset()
    item.ReferencedSOPClassUID = ref.sop_class_uid
    item.ReferencedSOPInstanceUID = ref.sop_instance_uid
    if source.in_frames(ref):
        item.ReferencedFrameNumber = ref.frame_number
    return item
