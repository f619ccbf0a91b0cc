"""A node that reads with one bundle, and has another one in its shadow; networks are fakes."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from node.dicom.read.pixels import load_volume
from node.settings import Settings
from tests.support.bundles import named
from tests.support.shadowed import Calm, Shadowed
from tests.support.working import Clock, Predictor, working_node


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def live() -> Predictor:
    """It marks the blood of `builder.HEAD`."""
    return Predictor()


@pytest.fixture
def other() -> Predictor:
    """It finds nothing."""
    return Calm()


@pytest.fixture
def shadowed(
    tmp_path: Path,
    clock: Clock,
    live: Predictor,
    other: Predictor,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shadowed]:
    settings = Settings(
        data_dir=tmp_path / "data",
        receive={"min_free_mb": 0},
        assemble={"min_slices": 8},
        triage={"bundle": named(tmp_path / "live", "fake", "1")},
        shadow={"on": True, "bundle": str(named(tmp_path / "other", "fake", "2")), "studies": 2},
    )
    monkeypatch.setattr("node.shadow.loop.load_detector", lambda _: other)
    monkeypatch.setattr("node.shadow.loop.decoding_process", lambda _: nullcontext(load_volume))
    monkeypatch.setattr("node.shadow.loop.LOOK_S", 0.01)
    with working_node(settings, clock, live) as node:
        yield Shadowed(node, clock, settings)
