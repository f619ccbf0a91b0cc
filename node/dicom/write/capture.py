"""The picture of a result as a Secondary Capture (PS3.3 A.8.1), compressed without loss.

A picture in colour takes 3.8 MB, a fifth of what a study takes. So it is in grey where colour says
nothing, which takes a third, and compressed as RLE Lossless, which halves it. Other syntaxes give
less (a picture of a real head: 1.6 MB by RLE, 1.0 MB by JPEG-LS), but RLE needs no codec, and
nearly every PACS has it. A peer that does not gets the picture uncompressed.
"""

from collections.abc import Sequence

from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless, SecondaryCaptureImageStorage

from node.dicom.write.slices import called, reference
from node.dicom.write.source import Imprint, Source, imprint


def capture(source: Source, picture: Image.Image, shown: Sequence[int], mark: Imprint) -> Dataset:
    """Return the picture as a Secondary Capture, ready to be saved.

    Parameters
    ----------
    picture
        Of mode "RGB" or "L".
    shown
        Indices of the shown slices, which are its source images.
    """
    ds = Dataset()
    ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.Modality = "DOC"  # for OT, and US, OHIF lays a cine bar over the picture
    imprint(ds, source, mark)
    ds.BodyPartExamined = "HEAD"
    ds.ConversionType = "WSD"
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.DateOfSecondaryCapture, ds.TimeOfSecondaryCapture = ds.ContentDate, ds.ContentTime
    ds.PatientOrientation = ""
    ds.BurnedInAnnotation = "NO"
    ds.RecognizableVisualFeatures = "NO"
    ds.LossyImageCompression = source.first.get("LossyImageCompression") or "00"
    if shown:
        ds.SourceImageSequence = [reference(source, source.plan.slices[i]) for i in shown]
    ds.SamplesPerPixel = len(picture.getbands())
    ds.PhotometricInterpretation = "RGB" if picture.mode == "RGB" else "MONOCHROME2"
    if picture.mode == "RGB":
        ds.PlanarConfiguration = 0
    ds.Columns, ds.Rows = picture.size
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelRepresentation = 0
    ds.PixelData = picture.tobytes()
    ds.compress(RLELossless, generate_instance_uid=False)
    return ds


def labels(source: Source, shown: Sequence[int]) -> list[str]:
    """Return what a viewer calls each shown slice; without a number, its place in the series."""
    slices, count = source.plan.slices, len(source.plan.slices)
    return [called(source, slices[i]) or f"slice {i + 1} of {count}" for i in shown]
