"""Two processes train what one would: each has half of every batch."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import multiprocessing, nn

from tests.support import ROOT
from training import train
from training.recipes import recipe

pytestmark = pytest.mark.networks

SMALL = ROOT / "config" / "recipes" / "small.toml"


def without_batch_norm() -> None:
    """On CPU, torch has no batch norm that sees the batches of all processes."""
    nn.BatchNorm2d = lambda _channels: nn.Identity()


def one_of_two(rank: int, path: Path, port: int) -> None:
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    torch.set_num_threads(1)
    without_batch_norm()
    train.train(path, ("subtypes", "attention"))


def test_two_processes_give_the_result_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(nn, "BatchNorm2d", nn.BatchNorm2d)
    without_batch_norm()
    path = tmp_path / "recipe.toml"
    text = SMALL.read_text().replace('"../../runs/small"', f'"{tmp_path}"')
    text = text.replace("count = 3", "count = 2")
    path.write_text(text.replace("checkpoint_every", "bf16 = false\ncheckpoint_every"))
    train.train(path, ("all", "subtypes", "attention"))
    for stage in ("subtypes", "attention"):
        (tmp_path / stage).rename(tmp_path / f"{stage}-alone")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    multiprocessing.spawn(one_of_two, (path, port), nprocs=2)
    for stage in ("subtypes", "attention"):
        two, one = (
            np.loadtxt(tmp_path / name / "log.csv", delimiter=",", skiprows=1)
            for name in (stage, f"{stage}-alone")
        )
        assert len(one) == recipe.read(path).named(stage).steps
        np.testing.assert_allclose(two, one, atol=2e-5, err_msg=stage)
        found, expected = (
            torch.load(tmp_path / name / "weights.pt", weights_only=True)
            for name in (stage, f"{stage}-alone")
        )
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5, msg=name)
