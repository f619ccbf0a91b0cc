import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.volume import Volume
from node.cli.bench.disk import disk_rate
from node.cli.bench.peers import SYNC_ON_CLOSE, compiled
from node.cli.bench.shares import REST, shares
from tests.support.builder import HEAD
from tests.support.working import PREPARING, soft_tissue


@pytest.fixture
def volume_of_head() -> Volume:
    hu = np.stack([HEAD.hu(place) for place in HEAD.positions_mm]).astype(np.float32)
    return Volume(hu, HEAD.positions_mm, HEAD.cosines, HEAD.spacing_mm, 5.0)


def test_the_disk_alone_keeps_what_it_is_measured_by(tmp_path):
    objects = [b"first", b"second"]
    assert disk_rate(tmp_path, objects, threads=3) > 0
    kept = sorted(path.read_bytes() for path in tmp_path.rglob("*.*"))
    assert kept == sorted(objects * 3)


def synced(arguments: list[str], tmp_path: Path) -> list[str]:
    """Return what a program has synced that sync_on_close.c is loaded into, in order."""
    library = compiled(SYNC_ON_CLOSE, tmp_path / "shim.so")
    log = tmp_path / "log"
    traced = [
        "strace",
        "-f",
        "-y",
        "-e",
        "trace=fsync",
        "-E",
        f"LD_PRELOAD={library}",
        "-o",
        str(log),
    ]
    subprocess.run([*traced, *arguments], stderr=subprocess.DEVNULL, check=True, timeout=60)
    lines = log.read_text().splitlines()
    return [line.partition("<")[2].partition(">")[0] for line in lines if "fsync(" in line]


@pytest.mark.skipif(not shutil.which("cc") or not shutil.which("strace"), reason="no cc, or strace")
def test_storescp_that_is_made_to_sync_syncs_what_it_wrote_and_its_folder(tmp_path):
    read, written = tmp_path / "read", tmp_path / "written" / "sorted"
    read.write_text("b\na\n")
    written.parent.mkdir()
    found = synced(["sort", "-o", str(written), str(read)], tmp_path)
    assert found == [str(written), str(written.parent)]
    assert written.read_text() == "a\nb\n"


def test_the_shares_of_the_networks_are_parts_of_one_study(volume_of_head):
    read = []

    def ensemble(batch):
        read.append(len(batch))
        peak = np.zeros((len(batch), 2), np.float32)
        return batch[:, 0], np.zeros((len(batch), 5), np.float32), peak, peak

    def slices(batch):
        return np.zeros((len(batch), 6), np.float32), batch[:, 0]

    alone = replace(PREPARING, strip=soft_tissue, predict=ensemble)
    found = shares(alone, volume_of_head)
    assert set(found) == {"skull stripper", "ensemble", REST} and read
    assert sum(found.values()) == pytest.approx(1) and min(found.values()) >= 0
    both = shares(replace(alone, predict_slices=slices), volume_of_head)
    assert set(both) == {"skull stripper", "ensemble", "network of slices", REST}
