r"""The mapping of a data set of unknown format: where its files lie, and their fields' names.

A TOML file that the data set's owner writes; a key that it leaves out is unknown, never guessed.

    name = "AI-Hub 34101"
    citation = "..."
    licence = "..."

    [images]
    path = '(?P<patient>\w+)/(?P<case>\w+)/(?P<slice>\d+)\.png'
    format = "grey"                   # or "dicom", "nifti" (one file a case)
    slope = 1.0                       # "grey" alone: HU = slope * value + intercept
    intercept = -1024.0
    spacing_mm = [0.45, 0.45]         # between rows, between columns
    slice_mm = 5.0
    first = "feet"                    # or "head": which end the lowest slice number is at

    [labels]
    file = "labels.csv"               # one table, or JSON files: "labels/{case}/{slice}.json"
    key_column = "image"              # of the table
    key = "{case}_{slice}"            # what stands in it
    yes = ["1"]
    no = ["0"]
    fields = {any = "ICH", epidural = "EDH"}    # column, or "dotted.path" in the JSON

    [masks]
    file = "masks/{case}/{slice}.png"           # of the format of the images; "dicom": of grey
    codes = {1 = "epidural"}          # left out: whatever is not 0 is hemorrhage
    missing = "empty"                 # no file, no lesion; or "unknown"

    [polygons]
    file = "labels/{case}/{slice}.json"
    list = "shapes"                   # dotted path of the list of polygons
    points = "points"                 # [[x, y], ...] or [x, y, x, y, ...], in pixels
    label = "label"
    codes = {EDH = "epidural"}
    missing = "empty"

Names in braces are the groups of `images.path`; for "nifti" `slice` counts from 1 along the file's
third axis. Orientation of grey images: the patient's right is at the left, anterior is up.
"""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict

from models.findings import SUBTYPES

Subtype = Literal["epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural"]
Missing = Literal["empty", "unknown"]
FIELDS = ("any", *SUBTYPES)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Images(_Strict):
    """Where the images are and what they hold; see the module."""

    path: str
    format: Literal["dicom", "nifti", "grey"]
    slope: float = 1.0
    intercept: float = 0.0
    spacing_mm: tuple[float, float] | None = None
    slice_mm: float | None = None
    first: Literal["feet", "head"] | None = None


class LabelFields(_Strict):
    """Where the labels of the slices are; see the module."""

    file: str
    key_column: str = ""
    key: str = ""
    yes: tuple[str, ...]
    no: tuple[str, ...]
    fields: dict[Literal["any"] | Subtype, str]


class Masks(_Strict):
    """Where the masks are; see the module."""

    file: str
    missing: Missing
    codes: dict[str, Subtype] | None = None


class Polygons(_Strict):
    """Where the polygons are; see the module."""

    file: str
    missing: Missing
    list: str
    points: str
    label: str
    codes: dict[str, Subtype]


class Mapped(_Strict):
    """The whole mapping; see the module."""

    name: str
    citation: str
    licence: str
    images: Images
    labels: LabelFields | None = None
    masks: Masks | None = None
    polygons: Polygons | None = None


def check(told: Mapped) -> None:
    """Refuse a mapping that contradicts itself.

    Raises
    ------
    ValueError
        The message names the keys.
    """
    groups = re.compile(told.images.path).groupindex
    images, labels = told.images, told.labels
    if "case" not in groups or ("slice" not in groups and images.format == "grey"):
        raise ValueError("images.path must name the groups case and, for grey images, slice")
    if images.format == "grey" and None in (images.spacing_mm, images.slice_mm, images.first):
        raise ValueError("grey images need spacing_mm, slice_mm and first: they carry no geometry")
    if labels and labels.file.endswith(".csv") and not (labels.key_column and labels.key):
        raise ValueError("a table of labels needs key_column and key")
    if told.polygons and (told.masks or images.format == "nifti"):
        raise ValueError("polygons go with DICOM or grey images, and without masks")
    files = [part.file for part in (labels, told.masks, told.polygons) if part]
    named = {field for file in files for field in re.findall(r"{(\w+)}", file)}
    if lost := named - groups.keys() - {"slice"}:
        raise ValueError(f"images.path has no group {', '.join(sorted(lost))}")
