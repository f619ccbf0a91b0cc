"""How much room a disk has, and whether it takes writes."""

import os
import shutil
from pathlib import Path

import pytest

from node.disk import room_of
from tests.support.disks import small_disk


def test_room_is_what_the_operating_system_says(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        empty = room_of(disk.folder)
        assert (empty.free, empty.total) == shutil.disk_usage(disk.folder)[2::-2]
        (disk.folder / "file").write_bytes(bytes(2 << 20))
        os.sync()
        full = room_of(disk.folder)
        assert full.total == empty.total and empty.free - full.free >= 2 << 20
        assert full.free_mb == full.free >> 20 and not full.read_only
        disk.forbid_writing()
        assert room_of(disk.folder).read_only


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        room_of(tmp_path / "away")
