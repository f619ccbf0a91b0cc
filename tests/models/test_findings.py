from dataclasses import replace
from pathlib import Path

import numpy as np

from models.findings import Findings, SliceFinding

NOTHING = np.zeros((2, 3, 4), bool)
OLD = Findings(
    probability=0.9,
    suspected=True,
    uncertainty=0.1,
    uncertain=False,
    volume_ml=1.0,
    subtypes={},
    slices=(SliceFinding(0.9), SliceFinding(0.2)),
    key_slice=0,
    mask=NOTHING,
    heat=np.zeros((2, 3, 4), np.uint8),
    bundle="some@1",
    weights_sha256="0" * 64,
)


def test_what_regions_look_like_is_kept_and_changes_the_digest(tmp_path: Path) -> None:
    named = replace(OLD, mimics=("it may be calcium",))
    named.save(tmp_path / "values", tmp_path / "arrays.npz")
    found = Findings.load(tmp_path / "values", tmp_path / "arrays.npz")
    assert (found.mimics, found.sha256) == (named.mimics, named.sha256)
    assert found.sha256 != OLD.sha256


def test_findings_without_it_are_saved_and_digested_as_before_it_was_there(tmp_path: Path) -> None:
    OLD.save(tmp_path / "values", tmp_path / "arrays.npz")
    assert "mimics" not in (tmp_path / "values").read_text()
    assert OLD.sha256 == "de170909191438aee173aadf2740f2d8778a076f6598998bed6eb8710d19c0f6"
    assert Findings.load(tmp_path / "values", tmp_path / "arrays.npz").mimics == ()
