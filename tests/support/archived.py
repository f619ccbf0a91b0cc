"""Readers of an archive for tests: without networks, slow, or deadly. Ray's workers import them.

As a program, it reads a proof to its end and can be killed: `python -m tests.support.archived`.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from pydicom import Dataset

from node.archive.finding import Days, Gentle, Hours, Store, joined, search_folder
from node.archive.proof import Proof
from node.archive.reading import Material, Plan, Read, Reading, read_catalogue, reader
from node.dicom.read.pixels import load_volume
from node.errors import BadConfiguration
from node.settings import Assemble, Settings
from tests.support.builder import HEAD, INTERCEPT, encoded, pixels
from tests.support.working import Predictor


@contextmanager
def predicted(settings: Settings) -> Iterator[Read]:
    """Read with the predictor of tests, and decode in the worker itself, which is faster."""
    predictor = Predictor()
    with reader(
        settings,
        pictures=True,
        detector=lambda: predictor,  # type: ignore[arg-type, return-value]
        decoder=load_volume,
    ) as read:
        yield read


@contextmanager
def deadly(settings: Settings, study: str) -> Iterator[Read]:
    """Read as `predicted`; one study ends its process, as a codec or a lack of memory does."""
    with predicted(settings) as read:

        def read_or_die(material: Material) -> Reading:
            if material.study_instance_uid == study:
                os.kill(os.getpid(), signal.SIGKILL)
            return read(material)

        yield read_or_die


@contextmanager
def slow(settings: Settings, beside: Path, seconds: float = 0.4) -> Iterator[Read]:
    """Read as `predicted`, and leave a file for each begun study, whose text is the process."""
    with predicted(settings) as read:

        def read_slowly(material: Material) -> Reading:
            begun = beside / f"{material.study_instance_uid}-{os.getpid()}"
            begun.write_text(str(os.getpid()))
            time.sleep(seconds)
            return read(material)

        yield read_slowly


@contextmanager
def broken() -> Iterator[Read]:
    """Have no networks."""
    raise BadConfiguration("triage: no such bundle")
    yield


def at_once() -> Gentle:
    """Ask a server as often as one likes."""
    return Gentle(1e6, Hours(), sleep=lambda _: None)


HEADS = {
    "bleeds": HEAD(study="bleeds"),
    "plain": HEAD(study="plain").having(AccessionNumber="A2"),
    "short": HEAD(study="short", gaps_mm=(5.0,) * 5).having(AccessionNumber="A3"),
}
"""A head with a clot, one without (`images_of` takes it out), and too little of one."""


def images_of(name: str) -> list[Dataset]:
    """Return the images of one of `HEADS`."""
    images = HEADS[name].build()
    return pixels(_without_clot)(images) if name == "plain" else images


def _without_clot(stored: np.ndarray) -> np.ndarray:
    return np.where(stored == 72 - INTERCEPT, 40 - INTERCEPT, stored).astype(stored.dtype)


def write_each(root: Path, studies: dict[str, list[Dataset]]) -> None:
    """Write the images of each study into a folder of its own."""
    for name, images in studies.items():
        (root / name).mkdir(parents=True)
        for number, ds in enumerate(images):
            (root / name / f"{number:03}.dcm").write_bytes(encoded(ds))


def write_heads(root: Path, *names: str) -> None:
    """Write these of `HEADS`, each into a folder of its own."""
    write_each(root, {name: images_of(name) for name in names})


def catalogued(root: Path, folder: Path) -> Proof:
    """Return a proof whose catalogue has the series of a folder."""
    proof = Proof(folder)
    store = Store(proof)
    list(search_folder(root, Days(), Assemble(), store))
    store.write_catalogue(joined(Assemble()))
    store.close()
    return proof


if __name__ == "__main__":
    address, proof, beside = sys.argv[1], Proof(Path(sys.argv[2])), Path(sys.argv[3])
    make = partial(slow, Settings(), beside)
    for _ in read_catalogue(proof, Settings(), Plan(address, 2, 0.0, True, at_once()), make=make):
        pass
