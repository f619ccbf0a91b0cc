"""A data set of a format that we do not know, read by a mapping that its owner writes.

AI-Hub 34101, which Kang 2023 trained on, publishes no description of its format: nothing of it is
assumed here. `training.datasets.mapping` says what the mapping holds.
"""

import csv
import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, UnidentifiedImageError

from models.findings import SUBTYPES
from models.volume import Volume
from training.datasets import dicom, nifti
from training.datasets.case import (
    Case,
    DataSet,
    Labels,
    Unreadable,
    finest,
    known_any,
    study_labels,
)
from training.datasets.mapping import FIELDS, Images, LabelFields, Mapped, Masks, Polygons, check


@dataclass(frozen=True, slots=True)
class _Series:
    """Images in order: the volume, and for each slice the groups of its path."""

    volume: Volume
    groups: Sequence[Mapping[str, str]]
    problems: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Lesions of one slice: (y, x) bool by subtype, "" for those without one; None if unknown."""

    parts: Mapping[str, NDArray[np.bool_]] | None
    problems: Sequence[str] = ()


def open_adapter(root: Path, mapping: Path) -> DataSet:
    """Open the data set at `root` as the TOML file `mapping` says.

    Raises
    ------
    ValueError
        If the mapping has unknown keys, lacks one, or contradicts itself.
    FileNotFoundError
        If the mapping or its table of labels is missing.
    """
    told = Mapped.model_validate(tomllib.loads(mapping.read_text()))
    check(told)
    table, problems = _table(root, told.labels)
    cases: defaultdict[tuple[str, str], list[tuple[Path, dict[str, str]]]] = defaultdict(list)
    pattern = re.compile(told.images.path)
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        if found := pattern.fullmatch(path.relative_to(root).as_posix()):
            groups = found.groupdict()
            cases[groups.get("patient") or groups["case"], groups["case"]].append((path, groups))
    if not cases:
        problems.append(f"no file below {root} matches {told.images.path}")
    loaders = defaultdict(list)
    for (patient, case), files in cases.items():
        loaders[patient].append(partial(_read, root, told, table, patient, case, files))
    return DataSet(
        name=told.name,
        site=told.name,
        citation=told.citation,
        licence=told.licence,
        loaders=loaders,
        bleeding=dict.fromkeys(loaders, float("nan")),
        problems=problems,
    )


def _read(
    root: Path,
    told: Mapped,
    table: Mapping[str, Mapping[str, str]],
    patient: str,
    case: str,
    files: Sequence[tuple[Path, dict[str, str]]],
) -> Case:
    codes: NDArray[np.int16] | None = None
    if told.images.format == "nifti":
        series, codes = _nifti(root, told, files)
    else:
        series = (_grey if told.images.format == "grey" else _dicom)(root, told.images, files)
    problems = list(series.problems)
    drawn = [_drawn(root, told, groups, series.volume.hu.shape[1:]) for groups in series.groups]
    if codes is not None:
        drawn = [_Drawn(_by_subtype(plane, told.masks)) for plane in codes]
    problems += [line for each in drawn for line in each.problems]
    known = np.stack([_labels(root, told, table, groups, problems) for groups in series.groups])
    known = np.where(np.isnan(known), np.stack([_shown(each, told) for each in drawn]), known)
    labels = known[:, 1:].astype(np.float32)
    some = known_any(labels, axis=1)
    bleeds = np.where(np.isnan(known[:, 0]), some, known[:, 0]).astype(np.float32)
    labels[(bleeds == 0)[:, None] & np.isnan(labels)] = 0
    mask = _mask(drawn, bleeds, series.volume.hu.shape, problems, case)
    return Case(
        name=case,
        patient=patient,
        volume=series.volume,
        labels=labels,
        bleeds=bleeds,
        study=study_labels(labels, bleeds),
        mask=mask,
        kind=finest(mask),
        problems=tuple(problems),
    )


def _mask(
    drawn: Sequence[_Drawn],
    bleeds: Labels,
    shape: tuple[int, ...],
    problems: list[str],
    case: str,
) -> NDArray[np.bool_] | None:
    """(z, y, x) bool; None if the lesions of a slice that may bleed are unknown."""
    unknown = [each.parts is None and bleeds[z] != 0 for z, each in enumerate(drawn)]
    if any(unknown):
        if not all(each.parts is None for each in drawn):
            problems.append(f"{case}: lesions of {sum(unknown)} slices are not drawn, no mask")
        return None
    mask = np.zeros(shape, bool)
    for plane, each in zip(mask, drawn, strict=True):
        for part in (each.parts or {}).values():
            plane |= part
    return mask


def _shown(drawn: _Drawn, told: Mapped) -> Labels:
    """(6,) what the lesions of a slice say where no label does."""
    shown = np.full(len(FIELDS), np.nan, np.float32)
    if drawn.parts is None:
        return shown
    present = {subtype for subtype, part in drawn.parts.items() if part.any()}
    shown[0] = bool(present)
    named = told.polygons or (told.masks and told.masks.codes)
    if not present or (named and "" not in present):
        shown[1:] = [subtype in present for subtype in SUBTYPES]
    return shown


def _dicom(root: Path, _: Images, files: Sequence[tuple[Path, dict[str, str]]]) -> _Series:
    groups = {path.relative_to(root).as_posix(): group for path, group in files}
    headers = [dicom.read_header(root, path) for path in groups]
    usable = [header for header in headers if not header.problem]
    broken = [header.problem for header in headers if header.problem]
    if not usable:
        raise Unreadable("; ".join(broken))
    stack = dicom.read_stack(root, usable)
    return _Series(
        stack.volume,
        [groups[header.path] for header in stack.headers],
        [*broken, *stack.problems],
    )


def _grey(root: Path, images: Images, files: Sequence[tuple[Path, dict[str, str]]]) -> _Series:
    ordered = sorted(files, key=lambda item: int(item[1]["slice"]))
    upward = 1 if images.first == "feet" else -1
    planes: dict[int, tuple[NDArray[np.float32], dict[str, str]]] = {}
    problems = []
    for path, groups in ordered:
        name, place = path.relative_to(root).as_posix(), upward * int(groups["slice"])
        grey = _image(path)
        if grey is None or grey.ndim != 2:
            problems.append(f"{name}: not a readable grey image, slice left out")
        elif place in planes:
            problems.append(f"{name}: slice {groups['slice']} is there twice, left out")
        elif planes and grey.shape != next(iter(planes.values()))[0].shape:
            problems.append(f"{name}: of another size than the first slice, left out")
        else:
            planes[place] = grey, groups
    if not planes:
        raise Unreadable(f"{ordered[0][0].relative_to(root).as_posix()}: no slice can be read")
    assert images.spacing_mm is not None and images.slice_mm is not None  # by `check`
    places = sorted(planes)
    hu = np.stack([planes[place][0] for place in places]) * np.float32(images.slope)
    volume = Volume(
        hu=hu + np.float32(images.intercept),
        positions_mm=np.array([(0.0, 0.0, place * images.slice_mm) for place in places]),
        orientation=np.array([1.0, 0, 0, 0, 1, 0]),
        spacing_mm=images.spacing_mm,
        thickness_mm=images.slice_mm,
    )
    return _Series(volume, [planes[place][1] for place in places], problems)


def _nifti(
    root: Path, told: Mapped, files: Sequence[tuple[Path, dict[str, str]]]
) -> tuple[_Series, NDArray[np.int16] | None]:
    (path, groups), *others = files
    mask = root / told.masks.file.format_map(groups) if told.masks else None
    scan = nifti.read_scan(path, mask if mask and mask.exists() else None)
    problems = [*scan.problems]
    problems += [f"{other.name}: a second file of its case, left out" for other, _ in others]
    if mask and not mask.exists():
        problems.append(f"{mask.name}: missing")
    slices = [{**groups, "slice": str(place + 1)} for place in scan.of_file]
    codes = scan.codes
    if codes is None and mask and told.masks and told.masks.missing == "empty":
        codes = None if mask.exists() else np.zeros(scan.volume.hu.shape, np.int16)
    return _Series(scan.volume, slices, problems), codes


def _image(path: Path) -> NDArray[np.float32] | None:
    try:
        return np.asarray(Image.open(path)).astype(np.float32)
    except (UnidentifiedImageError, OSError):
        return None


def _by_subtype(plane: NDArray[Any], masks: Masks | None) -> dict[str, NDArray[np.bool_]]:
    """(y, x) bool by subtype; values without a subtype are hemorrhage all the same."""
    codes = {int(code): name for code, name in ((masks and masks.codes) or {}).items()}
    parts: dict[str, NDArray[np.bool_]] = {name: plane == code for code, name in codes.items()}
    parts[""] = (plane != 0) & ~np.isin(plane, list(codes))
    return parts


def _drawn(root: Path, told: Mapped, groups: Mapping[str, str], shape: tuple[int, ...]) -> _Drawn:
    if told.images.format == "nifti" and not told.polygons:
        return _Drawn(None)
    drawn = told.masks or told.polygons
    if drawn is None:
        return _Drawn(None)
    path = root / drawn.file.format_map(groups)
    if not path.exists():
        empty = drawn.missing == "empty"
        return _Drawn({} if empty else None, () if empty else (f"{path.name}: missing",))
    if told.polygons:
        return _polygons(path, told.polygons, shape)
    grey = _image(path)
    if grey is None or grey.shape != shape:
        return _Drawn(None, (f"{path.name}: not a readable mask of its image's size",))
    return _Drawn(_by_subtype(grey, told.masks))


def _polygons(path: Path, told: Polygons, shape: tuple[int, ...]) -> _Drawn:
    try:
        shapes = _at(json.loads(path.read_text()), told.list)
        parts: dict[str, NDArray[np.bool_]] = {}
        problems = []
        for each in shapes:
            label, points = str(_at(each, told.label)), np.asarray(_at(each, told.points), float)
            if label not in told.codes:
                problems.append(f"{path.name}: the polygon {label!r} is not in polygons.codes")
                continue
            page = Image.new("1", (shape[1], shape[0]))
            ImageDraw.Draw(page).polygon([*map(float, points.ravel())], fill=1)
            subtype = told.codes[label]
            parts[subtype] = np.array(page) | parts.get(subtype, np.zeros(shape, bool))
    except (OSError, ValueError, TypeError, LookupError) as error:
        return _Drawn(None, (f"{path.name}: its polygons cannot be read ({error!r})",))
    return _Drawn(parts, problems)


def _table(root: Path, told: LabelFields | None) -> tuple[dict[str, Mapping[str, str]], list[str]]:
    if told is None or not told.file.endswith(".csv"):
        return {}, []
    rows: dict[str, Mapping[str, str]] = {}
    problems = []
    with (root / told.file).open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = {told.key_column, *told.fields.values()}
        if lost := columns - set(reader.fieldnames or ()):
            raise ValueError(f"{told.file}: no column {', '.join(sorted(lost))}")
        for row in reader:
            if row[told.key_column] in rows:
                problems.append(f"{told.file}: {row[told.key_column]} twice, the last is taken")
            rows[row[told.key_column]] = row
    return rows, problems


def _labels(
    root: Path,
    told: Mapped,
    table: Mapping[str, Mapping[str, str]],
    groups: Mapping[str, str],
    problems: list[str],
) -> Labels:
    """(6,) labels of a slice in the order of `FIELDS`; NaN where unknown, which is named."""
    known = np.full(len(FIELDS), np.nan, np.float32)
    if told.labels is None:
        return known
    try:
        if told.labels.file.endswith(".csv"):
            name = told.labels.key.format_map(groups)
            row = table[name]
            values = {field: row[column] for field, column in told.labels.fields.items()}
        else:
            path = root / told.labels.file.format_map(groups)
            name = path.relative_to(root).as_posix()
            content = json.loads(path.read_text())
            values = {field: str(_at(content, key)) for field, key in told.labels.fields.items()}
    except (OSError, ValueError, TypeError, LookupError) as error:
        problems.append(f"slice {'/'.join(groups.values())}: no label ({error!r})")
        return known
    for field, value in values.items():
        if value in (*told.labels.yes, *told.labels.no):
            known[FIELDS.index(field)] = value in told.labels.yes
        else:
            problems.append(f"{name}: {field} is {value!r}, neither yes nor no")
    return known


def _at(content: Any, path: str) -> Any:
    """The value at a dotted path of a JSON document; numbers index lists."""
    for key in path.split("."):
        content = content[int(key) if isinstance(content, list) else key]
    return content
