"""The shipped bundle on real heads: it performs as its model card says."""

import json
from pathlib import Path

import numpy as np
import pytest

from models.bundle import METADATA, load_detector
from models.detector import Detector
from models.runtime import available_runtimes
from models.volume import Volume
from tests.support import BUNDLE, ROOT
from training.datasets.physionet import load, read_split

HELD_OUT = read_split(ROOT / "config" / "recipes" / "physionet-split.toml").test
BLEEDING = (75, 81)
NORMAL = (100, 117)


@pytest.mark.parametrize("runtime", available_runtimes())
def test_every_runtime_reproduces_the_golden_output(runtime: str, networks: Path) -> None:
    assert load_detector(BUNDLE, runtime, networks).runtime == runtime


@pytest.mark.parametrize("number", BLEEDING)
def test_a_held_out_patient_with_hemorrhage_is_suspected_where_it_bleeds(
    detector: Detector, data: Path, number: int
) -> None:
    assert number in HELD_OUT
    patient = load(data / "physionet_ct_ich", number)
    found = detector.detect(patient.volume)
    assert found.suspected
    assert found.key_slice is not None
    assert patient.labels[found.key_slice].any()
    assert (found.mask & patient.mask).any()


@pytest.mark.parametrize("number", NORMAL)
def test_a_held_out_patient_without_hemorrhage_is_not_suspected(
    detector: Detector, data: Path, number: int
) -> None:
    assert number in HELD_OUT
    found = detector.detect(load(data / "physionet_ct_ich", number).volume)
    assert not found.suspected
    assert found.probability < detector.operating_point


def test_the_card_states_the_figures_of_the_metadata() -> None:
    measured = json.loads((BUNDLE / METADATA).read_text())["measured"]["held-out"]
    card = (BUNDLE / "docs" / "README.md").read_text()
    assert f"{measured['case_auc']['value']:.3f}" in card
    assert f"({measured['sensitivity']['count']})" in card
    assert "Research use only" in card
    assert measured["cases"] == len(HELD_OUT)


def test_a_turned_and_mirrored_head_reads_the_same(detector: Detector, data: Path) -> None:
    """The scanner chooses rows and columns; that must not change the findings."""
    volume = load(data / "physionet_ct_ich", BLEEDING[0]).volume
    across = Volume(
        np.ascontiguousarray(volume.hu.swapaxes(1, 2))[::-1],
        volume.positions_mm[::-1],
        np.r_[volume.orientation[3:], volume.orientation[:3]],
        volume.spacing_mm,
        volume.thickness_mm,
    )
    straight, turned = detector.detect(volume), detector.detect(across)
    assert turned.probability == pytest.approx(straight.probability, abs=0.02)
    np.testing.assert_array_equal(turned.mask.swapaxes(1, 2)[::-1], straight.mask)
