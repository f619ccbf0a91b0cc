"""How fast the disk alone keeps files for good: what no storage SCP that syncs can exceed."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from node.disk import sync_folder


def disk_rate(folder: Path, objects: Sequence[bytes], threads: int) -> float:
    """Return files a second: each is written, fsynced and renamed, and its folder is fsynced.

    There is no DICOM, no digest and no SQL.

    Parameters
    ----------
    objects
        What each of the threads writes, one after another.
    """
    folders = [folder / str(number) for number in range(threads)]
    for each in folders:
        each.mkdir(parents=True)
    with ThreadPoolExecutor(threads) as pool:
        begin = time.monotonic()
        list(pool.map(partial(_keep_all, objects=objects), folders))
        end = time.monotonic()
    return len(objects) * threads / (end - begin)


def _keep_all(folder: Path, objects: Sequence[bytes]) -> None:
    for number, data in enumerate(objects):
        partial_file = folder / f"{number}.partial"
        with partial_file.open("xb", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())
        partial_file.rename(folder / f"{number}.dcm")
        sync_folder(folder)
