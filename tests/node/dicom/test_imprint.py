"""What a report inherits from its source: all that can be understood, and no damage."""

from datetime import UTC, datetime
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import Comprehensive3DSRStorage

from node.dicom.read.header import open_object
from node.dicom.write.source import INHERITED, SCANNER, Imprint, Source, imprint
from node.records import SeriesPlan
from tests.support.builder import HEAD, encoded

IMAGE = encoded(HEAD(gaps_mm=()).build()[0])
RUBBISH = (b"", b"1,75", b"abc\\def\\ ", b"\xff\xfe\x80\x81", b"x" * 200, b"- ", b"0\\0 ")
INHERITED_BUT_UIDS = [name for name in (*INHERITED, *SCANNER) if name != "StudyInstanceUID"]


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("keyword", INHERITED_BUT_UIDS)
def test_no_attribute_of_the_source_costs_a_report(keyword: str) -> None:
    tag = Tag(keyword)
    for value in RUBBISH:
        opened = open_object(IMAGE)
        opened.ds[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
        header = opened.header
        plan = SeriesPlan(header.study_instance_uid, header.series_instance_uid, (), "read")
        source = Source(plan, {header.sop_instance_uid: header}, opened.ds)
        with disable_value_validation(), BytesIO() as file:
            ds = Dataset()
            ds.SOPClassUID = Comprehensive3DSRStorage
            imprint(ds, source, Imprint("sr", "report", datetime(2026, 1, 15, tzinfo=UTC)))
            ds.save_as(file, enforce_file_format=True)
            file.seek(0)
            assert dcmread(file).StudyInstanceUID == header.study_instance_uid
