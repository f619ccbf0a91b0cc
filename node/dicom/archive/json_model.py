"""The DICOM JSON model (PS3.18 annex F): of answers to queries, and of whole objects."""

import json
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from node.dicom.read.header import DAMAGE, OpenObject, open_object
from node.wording import RESEARCH_USE_ONLY

logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # it quotes values that it cannot convert

Value = str | int | None | Sequence[str]

HERE = "@"
"""Stands in a BulkDataURI for the address of the DICOMweb service; no other text can follow the
name of that member, so that it can be replaced in the written JSON."""
INLINE_BYTES = 1024
"""Longer binary values are left to a resource of their own."""
_BINARY = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_PIXELS = {0x7FE00008: "OF", 0x7FE00009: "OD", 0x7FE00010: "OW"}

PRIVATE_CREATOR = "ICHNODE"
PRIORITY, NOTICE = "21171001", "21171002"
"""Private attributes of an answer: the priority of the study in the node's worklist (CS), and what
it may be used for (LO)."""
_CREATOR = "21170010"


def keyword_of(name: str) -> str:
    """Return the keyword of an attribute that a keyword or eight hex digits name; "" if none."""
    if tag_for_keyword(name) is not None:
        return name
    try:
        return keyword_for_tag(int(name, 16)) if len(name) == 8 else ""
    except ValueError:
        return ""


def attributes_json(values: Mapping[str, str | int | Sequence[str] | None]) -> dict[str, Any]:
    """Return attributes, given by keyword, in the DICOM JSON model."""
    named = ((_tag_and_vr(keyword), value) for keyword, value in values.items())
    return {tag: {"vr": vr, **_value(vr, value)} for (tag, vr), value in named}


def priority_json(priority: str) -> dict[str, Any]:
    """Return a study's priority in the worklist as private attributes (PS3.5 7.8)."""
    return {
        _CREATOR: {"vr": "LO", "Value": [PRIVATE_CREATOR]},
        PRIORITY: {"vr": "CS", "Value": [priority]},
        NOTICE: {"vr": "LO", "Value": [RESEARCH_USE_ONLY]},
    }


def object_json(opened: OpenObject) -> str:
    """Return the metadata of an object as JSON: all that is no bulk data. It converts the elements.

    An element whose value cannot be understood is empty. Links begin with `HERE`.
    """
    header = opened.header
    resource = f"{HERE}/studies/{header.study_instance_uid}/series/{header.series_instance_uid}"
    resource += f"/instances/{header.sop_instance_uid}"
    elements = {}
    with disable_value_validation():
        for tag in opened.ds.keys():  # noqa: SIM118  iteration would convert, and may raise
            if tag.element != 0:  # no group lengths
                elements[f"{tag:08X}"] = _element_json(opened.ds, tag, resource)
    elements["00083002"] = json.dumps({"vr": "UI", "Value": [header.transfer_syntax_uid]})
    if header.has_pixel_data:
        elements["7FE00010"] = json.dumps(
            {"vr": "OW", "BulkDataURI": f"{resource}/bulkdata/7FE00010"}
        )
    return "{" + ",".join(f'"{tag}":{text}' for tag, text in sorted(elements.items())) + "}"


def bulk_data(path: Path, tag: int) -> bytes | None:
    """Return the value of a binary element outside sequences; None if there is none.

    Raises
    ------
    BadObject, OSError
        If it is no DICOM object any more, or cannot be read.
    """
    with path.open("rb") as file:
        ds = open_object(file, pixels=tag in _PIXELS).ds
    try:
        value = ds[tag].value if tag in ds else None
    except DAMAGE:
        return None
    return bytes(value) if isinstance(value, bytes | bytearray) else None


def _element_json(ds: Dataset, tag: Any, resource: str) -> str:
    try:
        element = ds[tag]
        if element.VR in _BINARY and len(element.value or b"") > INLINE_BYTES:
            uri = f"{resource}/bulkdata/{tag:08X}"
            return json.dumps({"vr": element.VR, "BulkDataURI": uri})
        return json.dumps(_plain(element), allow_nan=False)
    except (*DAMAGE, OSError):  # pydicom's own, of a sequence that ends early
        vr = ds.get_item(tag).VR or "UN"
        return json.dumps({"vr": vr})


def _plain(element: DataElement) -> dict[str, Any]:
    found: dict[str, Any] = element.to_json_dict(None, 0)
    if element.VR == "UN" and isinstance(element.value, str):
        return {"vr": "UN"}
    return found


def _value(vr: str, value: Value) -> dict[str, Any]:
    if value is None or value == "" or value == []:
        return {}
    if vr == "PN":
        names = ("Alphabetic", "Ideographic", "Phonetic")
        groups = zip(names, str(value).split("="), strict=False)
        return {"Value": [{name: group for name, group in groups if group}]}
    if isinstance(value, str):
        return {"Value": value.split("\\") if vr in ("UI", "CS") else [value]}
    return {"Value": list(value) if isinstance(value, Sequence) else [value]}


@cache
def _tag_and_vr(keyword: str) -> tuple[str, str]:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return f"{tag:08X}", dictionary_VR(tag)
