"""The power fails: what was written and not synced is gone, whatever the processes had noted."""

import os
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.crashing import (
    Crashing,
    Load,
    crashing_node,
    head,
    require_delivered_once,
    require_kept,
    require_read_once,
    require_whole,
)
from tests.support.disks import raw_disk
from tests.support.peers import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.sqlite]

CUTS_S = (0.6, 0.9, 1.3, 0.5)
"""Seconds from one cut to the next; the last one waits for a result on its way."""


def require_as_promised(
    node: Crashing, acknowledged: dict[str, str], folder: Path, content: bytes
) -> Counter[str]:
    """Fail unless the disk as it was left has all that was acknowledged by then.

    The result is how many cases were in each state.
    """
    folder.mkdir()
    with raw_disk(folder / "cut.img", folder / "cut", content) as disk:
        found = node.on(disk.folder / "data", folder / "roles")
        require_kept(found, acknowledged)
        require_whole(found)
        return found.states()


def test_what_was_not_synced_is_lost_and_what_was_is_not(tmp_path):
    with raw_disk(tmp_path / "disk.img", tmp_path / "disk") as disk:
        (disk.folder / "forgotten").write_bytes(b"x" * 5000)
        with (disk.folder / "synced").open("wb") as file:
            file.write(b"y" * 5000)
            file.flush()
            os.fsync(file.fileno())
        content = disk.as_power_leaves_it()
    with raw_disk(tmp_path / "cut.img", tmp_path / "cut", content) as disk:
        forgotten = disk.folder / "forgotten"
        assert not forgotten.exists() or forgotten.read_bytes() != b"x" * 5000
        assert (disk.folder / "synced").read_bytes() == b"y" * 5000


@pytest.mark.parametrize("forgetful", [False, True])
def test_what_was_acknowledged_is_on_the_disk_and_would_not_be_without_its_sync(
    forgetful, tmp_path
):
    with (
        raw_disk(tmp_path / "disk.img", tmp_path / "disk") as disk,
        crashing_node(tmp_path, disk.folder / "data") as node,
    ):
        life = node.mortals.start("receive", forgetful=forgetful)
        node.mortals.wait_until_listening(life)
        assert node.modality.send(head(1))
        with life.held():
            content = disk.as_power_leaves_it()
        life.kill()
        with ExitStack() as expected:
            if forgetful:
                expected.enter_context(pytest.raises((AssertionError, FileNotFoundError)))
            require_as_promised(node, node.modality.acknowledged, tmp_path / "as", content)


def test_node_goes_on_from_a_disk_whose_power_was_cut_under_load(tmp_path, capsys):
    with (
        raw_disk(tmp_path / "disk.img", tmp_path / "disk") as disk,
        crashing_node(tmp_path, disk.folder / "data") as node,
        Load(node) as load,
    ):
        lives, cuts = node.start(), []
        for seconds in CUTS_S:
            time.sleep(seconds)
            if seconds is CUTS_S[-1]:
                wait_until(lambda: node.archives[0].got, 60)
            acknowledged = dict(node.modality.acknowledged)
            with ExitStack() as held:
                for life in lives.values():
                    held.enter_context(life.held())
                cuts.append((acknowledged, disk.as_power_leaves_it()))
                if len(cuts) == len(CUTS_S):
                    node.mortals.end()
        found = [
            require_as_promised(node, acknowledged, tmp_path / f"cut {number}", content)
            for number, (acknowledged, content) in enumerate(cuts)
        ]
        with raw_disk(tmp_path / "last.img", tmp_path / "last", cuts[-1][1]) as last:
            after = node.on(last.folder / "data", tmp_path / "roles after")
            after.let_leases_run_out()
            after.start()
            load.end()
            after.wait_until_delivered(len(load.files))
            after.mortals.end()
            require_kept(after, node.modality.acknowledged)
            require_read_once(after, len(load.files))
            require_delivered_once(after, len(load.files))
    assert len(node.modality.acknowledged) == sum(map(len, load.files))
    assert set(found[-1]) & {"REPORTED", "DELIVERED"}, "a result was on its way"
    with capsys.disabled():
        held = [
            f"{len(known)} objects, {dict(states)}"
            for (known, _), states in zip(cuts, found, strict=True)
        ]
        sys.stdout.write(f"\nthe power was cut at {'; '.join(held)}\n")
