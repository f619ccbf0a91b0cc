"""CQ500: head CT studies from India, each read by three radiologists; study labels, no masks.

Chilamkurthy et al., Lancet 2018, 392:2388, doi 10.1016/S0140-6736(18)31645-3. A study holds many
series, a folder each: thin and 5 mm, bone kernels, contrast, neck. The readers saw the study, so
the labels belong to it and not to slices.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from models.findings import SUBTYPES
from training.datasets.case import Case, DataSet, Labels, Unreadable
from training.datasets.dicom import Header, in_order, index, read_stack

FINDINGS = {"any": "ICH"} | dict(zip(SUBTYPES, ("EDH", "IPH", "IVH", "SAH", "SDH"), strict=True))
READERS = ("R1", "R2", "R3")

STUDY = re.compile(r"CQ500CT(\d+)\b")
OTHER = re.compile(
    r"bone|contrast|\bpost\b|cect|cc sec|\boral\b|\biv\b|angio|\bcta\b|neck|spine|\bpns\b"
    r"|orbit|hrct|\b[lr]t\b|\b3d\b|\bde\b"
)
"""Folder names that say bone kernel, contrast medium or another part of the body (ours)."""
SHARP = re.compile(r"bone|edge|lung|^[bhj][rf]?[6-9]\d")
"""Convolution kernels that drown blood in noise (ours; GE by name, Siemens from 60)."""

LEAST_MM = 80.0
"""A series that covers less is no head (ours)."""


def open_cq500(root: Path, cache: Path, series: Literal["one", "all"] = "one") -> DataSet:
    """Open the data set; every `.dcm` below a folder named `CQ500CT<n> ...` is taken.

    Parameters
    ----------
    root
        Holds `reads.csv` and, at any depth, the studies.
    cache
        File that keeps the index of headers, see `training.datasets.dicom.index`.
    series
        "one" reads the first series of each study by `suitable`, "all" every one of them.

    Raises
    ------
    FileNotFoundError
        If `reads.csv` is missing.
    """
    reads, problems = read_reads(root / "reads.csv")
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.dcm"))
    headers = index(root, paths, cache)
    problems += [header.problem for header in headers if header.problem]
    studies: defaultdict[str, defaultdict[str, list[Header]]]
    studies = defaultdict(lambda: defaultdict(list))
    for header in headers:
        found = STUDY.search(header.path)
        if found is None:
            problems.append(f"{header.path}: in no folder of a study")
        elif not header.problem:
            folder = str(PurePosixPath(header.path).parent)
            studies[f"CQ500-CT-{found[1]}"][folder].append(header)
    problems += [f"{name}: images, but no reads" for name in studies if name not in reads]
    loaders = {}
    for name, study in reads.items():
        chosen = suitable(studies[name].values())
        if not chosen:
            problems.append(f"{name}: no suitable series among {len(studies[name])}, left out")
            continue
        chosen = chosen if series == "all" else chosen[:1]
        loaders[name] = [partial(_read, root, name, study, slices) for slices in chosen]
    return DataSet(
        name="CQ500",
        site="cq500",
        citation=(
            "Chilamkurthy S et al., Deep learning algorithms for detection of critical findings in "
            "head CT scans: a retrospective study, Lancet 2018;392:2388-2396"
        ),
        licence="CC BY-NC-SA 4.0",
        loaders=loaders,
        bleeding={name: float(reads[name][0]) for name in loaders},
        problems=problems,
    )


def read_reads(path: Path) -> tuple[dict[str, Labels], list[str]]:
    """(6,) any hemorrhage and `SUBTYPES` of each study by majority, and what is wrong.

    At least two of the three readers must agree, else the label is unknown.
    """
    reads: dict[str, Labels] = {}
    problems = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            votes = [[row.get(f"{r}:{f}") or "" for r in READERS] for f in FINDINGS.values()]
            study = np.array([_majority(vote) for vote in votes], np.float32)
            if np.isnan(study).any():
                problems.append(f"{row['name']}: reads are missing, labels without two are unknown")
            if row["name"] in reads:
                problems.append(f"{row['name']}: read twice in {path.name}, the first row is taken")
            reads.setdefault(row["name"], study)
    return reads, problems


def _majority(votes: Sequence[str]) -> float:
    return next(
        (value for value, vote in ((1.0, "1"), (0.0, "0")) if votes.count(vote) > 1), np.nan
    )


def suitable(series: Iterable[Sequence[Header]]) -> list[Sequence[Header]]:
    """The plain axial head series of a study, the best first (rules ours).

    Left out is what the folder's name calls bone, contrast or another part of the body ("pre
    contrast" counts as plain), what has a sharp kernel or a contrast agent in its header, leans
    more than 45 degrees from the axial plane, or covers less than 80 mm. Names with "plain" come
    first and those with a lone "C", which may mean with or without contrast, last; then the thinner
    spacing, which the networks' preprocessing averages to 5 mm.
    """
    ranked = []
    for slices in series:
        name = PurePosixPath(slices[0].path).parent.name.lower()
        plain = re.sub(r"\bpre[ _-]?contrast\b", "plain", name)
        kernels = " ".join({header.kernel.lower() for header in slices})
        if OTHER.search(plain) or SHARP.search(kernels) or any(h.contrast for h in slices):
            continue
        try:
            ordered, _ = in_order(slices)
        except Unreadable:
            continue
        row, column = np.reshape(ordered[0].orientation, (2, 3))
        normal = np.cross(row, column)
        reach = abs(
            float(np.dot(np.subtract(ordered[-1].position_mm, ordered[0].position_mm), normal))
        )
        if abs(normal[2]) < np.sqrt(0.5) or reach < LEAST_MM:
            continue
        doubt = 0 if "plain" in plain else 2 if re.search(r"\bc\b", plain) else 1
        ranked.append((doubt, round(reach / (len(ordered) - 1), 2), name, slices))
    return [slices for *_, slices in sorted(ranked, key=lambda item: item[:3])]


def _read(root: Path, name: str, study: Labels, headers: Sequence[Header]) -> Case:
    stack = read_stack(root, headers)
    # What the whole study lacks, every slice lacks; what it shows, some slice shows.
    slices = np.tile(np.where(study == 0, study, np.nan), (len(stack.headers), 1))
    return Case(
        name=f"{name} {PurePosixPath(headers[0].path).parent.name}",
        patient=name,
        volume=stack.volume,
        labels=slices[:, 1:].astype(np.float32),
        bleeds=slices[:, 0].astype(np.float32),
        study=study,
        mask=None,
        kind="series",
        problems=stack.problems,
    )
