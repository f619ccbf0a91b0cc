"""What procedure steps and availability notifications say, and what is no such message."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from node.announced import StepStatus
from node.dicom.net.association import ACCEPTED_SOP_CLASSES
from node.dicom.read.announcements import InvalidValue, MissingAttribute, Reader
from tests.support.announcing import attributes, available, begun, performed, references

READER = Reader(ACCEPTED_SOP_CLASSES)
IMAGES = references(["1.9.1", "1.9.2"])
SYNTAXES = {
    ExplicitVRLittleEndian: {},
    ImplicitVRLittleEndian: {"implicit": True},
    ExplicitVRBigEndian: {"little": False},
}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_messages_read_the_same_in_every_transfer_syntax(syntax: str) -> None:
    how = SYNTAXES[syntax]
    step = READER.new_step(attributes(begun("1.7.1"), **how), syntax)
    assert (step.modality, step.study_instance_uids) == ("CT", {"1.7.1"})
    change = READER.step_change(attributes(performed({"1.8.1": IMAGES}), **how), syntax)
    assert change == (StepStatus.COMPLETED, {"1.8.1": {"1.9.1", "1.9.2"}})
    said = READER.notification(attributes(available("1.7.1", {"1.8.1": IMAGES}), **how), syntax)
    assert said == ("1.7.1", {"1.8.1": {"1.9.1", "1.9.2"}}, frozenset())


def test_only_images_of_ct_count_wherever_they_are_listed() -> None:
    ds = performed({"1.8.1": references(["1.9.1", "1.9.1"], EnhancedCTImageStorage), "1.8.2": []})
    one, _ = ds.PerformedSeriesSequence
    one.ReferencedImageSequence += references(["1.9.2"], SecondaryCaptureImageStorage)
    one.ReferencedNonImageCompositeSOPInstanceSequence = references(["1.9.3"], CTImageStorage)
    change = READER.step_change(attributes(ds), ExplicitVRLittleEndian)
    assert change.images == {"1.8.1": {"1.9.1", "1.9.3"}}


def test_what_cannot_be_had_is_not_announced() -> None:
    gone = references(["1.9.2"], InstanceAvailability="UNAVAILABLE")
    here = references(["1.9.1"], InstanceAvailability="NEARLINE")
    ds = available("1.7.1", {"1.8.1": [*here, *gone]})
    said = READER.notification(attributes(ds), ExplicitVRLittleEndian)
    assert (said.images, said.gone) == ({"1.8.1": {"1.9.1"}}, {"1.9.2"})


def test_a_change_that_names_no_series_leaves_the_list_as_it_was() -> None:
    ds = Dataset()
    ds.PerformedProcedureStepStatus = "DISCONTINUED"
    change = READER.step_change(attributes(ds), ExplicitVRLittleEndian)
    assert change == (StepStatus.DISCONTINUED, None)


def without(ds: Dataset, keyword: str) -> Dataset:
    del ds[keyword]
    return ds


NAMELESS = begun("1.7.1")
NAMELESS.ScheduledStepAttributesSequence = [Dataset()]
BAD_STEPS = {
    "no status": (without(begun("1.7.1"), "PerformedProcedureStepStatus"), MissingAttribute),
    "no schedule": (without(begun("1.7.1"), "ScheduledStepAttributesSequence"), MissingAttribute),
    "no study": (NAMELESS, MissingAttribute),
    "completed from the start": (begun("1.7.1", status="COMPLETED"), InvalidValue),
    "unknown status": (begun("1.7.1", status="PERHAPS"), InvalidValue),
    "nothing": (Dataset(), MissingAttribute),
}


@pytest.mark.parametrize(("ds", "error"), BAD_STEPS.values(), ids=BAD_STEPS)
def test_what_is_no_new_step_is_refused(ds: Dataset, error: type[Exception]) -> None:
    with pytest.raises(error):
        READER.new_step(attributes(ds), ExplicitVRLittleEndian)


BAD_NOTIFICATIONS = {
    "no study": without(available("1.7.1", {"1.8.1": IMAGES}), "StudyInstanceUID"),
    "no series": available("1.7.1", {}),
    "an image without a class": available("1.7.1", {"1.8.1": [Dataset()]}),
}


@pytest.mark.parametrize("ds", BAD_NOTIFICATIONS.values(), ids=BAD_NOTIFICATIONS)
def test_what_is_no_notification_is_refused(ds: Dataset) -> None:
    with pytest.raises(MissingAttribute):
        READER.notification(attributes(ds), ExplicitVRLittleEndian)


def test_a_malformed_uid_is_refused() -> None:
    plain = attributes(available("1.7.1", {"1.8.1": IMAGES}))
    with pytest.raises(InvalidValue, match="ReferencedSOPInstanceUID is no UID"):
        READER.notification(plain.replace(b"1.9.2", b"1.x.2"), ExplicitVRLittleEndian)


NESTED = b"\x40\x00\x40\x03SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 20_000


def test_a_message_nested_without_end_is_refused() -> None:
    with pytest.raises(InvalidValue, match="cannot be decoded"):
        READER.new_step(NESTED, ExplicitVRLittleEndian)


WHOLE = attributes(performed({"1.8.1": references(f"1.9.{n}" for n in range(9))}))


@given(
    st.binary(max_size=64) | st.builds(lambda n: WHOLE[:n], st.integers(0, len(WHOLE))),
    st.lists(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 255)), max_size=8),
    st.sampled_from(list(SYNTAXES)),
)
@hypothesis_settings(max_examples=150, deadline=None, derandomize=True)
@pytest.mark.filterwarnings("ignore")
def test_whatever_the_bytes_are_they_are_read_or_refused(
    said: bytes, flips: list[tuple[int, int]], syntax: str
) -> None:
    damaged = bytearray(said)
    for at, value in flips:
        if at < len(damaged):
            damaged[at] = value
    for read in (READER.new_step, READER.step_change, READER.notification):
        with suppress(MissingAttribute, InvalidValue):
            read(bytes(damaged), syntax)
