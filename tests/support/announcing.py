"""Messages that tell how many images there are, and a scanner or archive that sends them."""

from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage
from pynetdicom import AE
from pynetdicom.sop_class import InstanceAvailabilityNotification, ModalityPerformedProcedureStep

STEP = "1.2.826.0.1.3680043.9.1"


def references(
    images: Iterable[str], sop_class: str = CTImageStorage, **values: Any
) -> list[Dataset]:
    found = []
    for uid in images:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = uid
        for keyword, value in values.items():
            setattr(item, keyword, value)
        found.append(item)
    return found


def begun(study: str, modality: str = "CT", status: str = "IN PROGRESS") -> Dataset:
    """Return the attributes that an N-CREATE of a procedure step gives (PS3.4 table F.7.2-1)."""
    scheduled = Dataset()
    scheduled.StudyInstanceUID = study
    scheduled.AccessionNumber = "A1"
    ds = Dataset()
    ds.ScheduledStepAttributesSequence = [scheduled]
    ds.PatientName, ds.PatientID = "DOE^JANE", "P1"
    ds.PerformedProcedureStepID = "1"
    ds.PerformedStationAETitle = "CT1"
    ds.PerformedProcedureStepStartDate = "20260115"
    ds.PerformedProcedureStepStatus = status
    ds.Modality = modality
    ds.PerformedSeriesSequence = []
    return ds


def performed(series: Mapping[str, Iterable[Dataset]], status: str = "COMPLETED") -> Dataset:
    """Return the attributes by which an N-SET ends a procedure step."""
    ds = Dataset()
    ds.PerformedProcedureStepStatus = status
    ds.PerformedProcedureStepEndDate = "20260115"
    ds.PerformedSeriesSequence = []
    for uid, images in series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.RetrieveAETitle = "PACS"
        item.ReferencedImageSequence = list(images)
        item.ReferencedNonImageCompositeSOPInstanceSequence = []
        ds.PerformedSeriesSequence.append(item)
    return ds


def available(study: str, series: Mapping[str, Iterable[Dataset]]) -> Dataset:
    """Return an availability notification (PS3.4 table R.3.2-1)."""
    ds = Dataset()
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.StudyInstanceUID = study
    ds.ReferencedSeriesSequence = []
    for uid, images in series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedSOPSequence = list(images)
        ds.ReferencedSeriesSequence.append(item)
    return ds


def attributes(ds: Dataset, *, implicit: bool = False, little: bool = True) -> bytes:
    """Return the data set as it goes over the network."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
    write_dataset(buffer, ds)
    return bytes(BytesIO(buffer.getvalue()).read())


class Teller:
    """An AE that sends procedure steps and availability notifications to a port."""

    def __init__(self, port: int, title: str = "CT1") -> None:
        ae = AE(title)
        ae.add_requested_context(ModalityPerformedProcedureStep)
        ae.add_requested_context(InstanceAvailabilityNotification)
        self._assoc = ae.associate("127.0.0.1", port, ae_title="ICHNODE")
        assert self._assoc.is_established

    def __enter__(self) -> "Teller":
        return self

    def __exit__(self, *error: object) -> None:
        self._assoc.release()

    def create(self, ds: Dataset, uid: str = STEP) -> Dataset:
        return self._assoc.send_n_create(ds, ModalityPerformedProcedureStep, uid)[0]

    def set(self, ds: Dataset, uid: str = STEP) -> Dataset:
        return self._assoc.send_n_set(ds, ModalityPerformedProcedureStep, uid)[0]

    def notify(self, ds: Dataset, uid: str = "1.2.826.0.1.3680043.9.2") -> Dataset:
        return self._assoc.send_n_create(ds, InstanceAvailabilityNotification, uid)[0]
