"""Building a volume from files: here, in the process with limits, and by SimpleITK."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless

from models.volume import Volume
from node.cases.decoding import decoding_process
from node.cli.bench.receiving import fresh_series
from node.cli.bench.tables import REPEATS, bench_table, console
from node.dicom.read.header import read_header
from node.dicom.read.pixels import Decoder, load_volume
from node.records import SeriesPlan, SliceRef
from node.settings import Decode

THIN = (400, 0.5)
"""Slices of the thin series, and their distance in mm."""


def measure_building(folder: Path, volume: Volume, limits: Decode) -> None:
    """Print how long volumes take to build from files, each way in turn."""
    with console.status("writing a thin series"):
        series = _series(folder, volume)
    table = bench_table(
        "building a volume, s (median)", "series", "here", "in its process", "SimpleITK"
    )
    with decoding_process(limits) as decode:
        for name, files in series.items():
            ways = _ways(files, {"here": load_volume, "in its process": decode})
            times: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(1 + REPEATS):
                for way, build in ways.items():
                    begin = time.monotonic()
                    build()
                    times[way].append(time.monotonic() - begin)
            medians = [f"{statistics.median(taken[1:]):.3f}" for taken in times.values()]
            table.add_row(name, *medians, *["-"] * (3 - len(medians)))
    table.caption = (
        "From files in order to Hounsfield units; ours checks each file's SHA-256 and header too. "
    ) + ("" if _has_simpleitk() else "SimpleITK is not on this machine, so not measured.")
    console.print(table)


def _series(folder: Path, volume: Volume) -> dict[str, list[Path]]:
    """Write the volume uncompressed and as JPEG-LS, and a thin series that repeats its slices."""
    plain = fresh_series(folder, volume, "plain")
    packed = fresh_series(folder, volume, "packed")
    for path in packed:
        ds = dcmread(path)
        ds.compress(JPEGLSLossless, generate_instance_uid=False)
        ds.save_as(path)
    count, gap_mm = THIN
    thin = Volume(
        volume.hu[np.arange(count) % len(volume.hu)],  # (z, y, x): its slices, again and again
        volume.positions_mm[0] + np.arange(count)[:, None] * gap_mm * volume.normal,
        volume.orientation,
        volume.spacing_mm,
        gap_mm,
    )
    shape = " x ".join(map(str, volume.hu.shape))
    return {
        f"{shape}, uncompressed": plain,
        f"{shape}, JPEG-LS": packed,
        f"{' x '.join(map(str, thin.hu.shape))}, uncompressed": fresh_series(folder, thin, "thin"),
    }


def _ways(
    files: Sequence[Path], decoders: Mapping[str, Decoder]
) -> dict[str, Callable[[], object]]:
    """Return each way to build a volume of these files; SimpleITK if it is installed."""
    refs = [
        SliceRef(
            path=path.name,
            sha256=sha256(path.read_bytes()).hexdigest(),
            sop_class_uid=header.sop_class_uid,
            sop_instance_uid=header.sop_instance_uid,
            frame_number=1,
            position_mm=header.frames[0].position_mm,
        )
        for path, header in ((path, read_header(path)) for path in files)
    ]
    plan = SeriesPlan("", "", tuple(refs), "")
    ways: dict[str, Callable[[], object]] = {
        name: partial(decode, plan, files[0].parent) for name, decode in decoders.items()
    }
    return ways | ({"SimpleITK": partial(_by_simpleitk, files)} if _has_simpleitk() else {})


def _has_simpleitk() -> bool:
    return find_spec("SimpleITK") is not None


def _by_simpleitk(files: Sequence[Path]) -> object:
    """Build the volume as SimpleITK's users do."""
    sitk: Any = import_module("SimpleITK")  # it has no types
    series = sitk.ImageSeriesReader()
    series.SetFileNames([str(path) for path in files])
    return sitk.GetArrayViewFromImage(series.Execute())
