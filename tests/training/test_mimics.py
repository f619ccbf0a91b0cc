"""The set of mimics has their pixels, and the table says how often each is taken for blood."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from models.detector import Detector
from models.findings import Findings, Unreadable
from models.volume import Volume
from tests.support.recipes import small_recipe
from tests.support.reported import SHAPE, findings
from training import mimics
from training.datasets import physionet
from training.metrics.statistics import wilson
from training.metrics.tables import Table
from training.mimics import Alarm, alarms, measure_mimics, published
from training.phantoms import Phantom, Scanner, phantom
from training.phantoms.mimics import BODIES, NAMES, NONE, Mimicked, implant_mimic, implanted

SMALL = Scanner(rows=176, columns=160, spacing_mm=(1.35, 1.3), tilt_deg=12.0)


@pytest.fixture(scope="module")
def head() -> Phantom:
    return phantom(4, confounders=(), scanner=SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_put_in_where_its_pixels_say_and_nowhere_else(head: Phantom, name: str) -> None:
    put = implant_mimic(head.volume, head.brain, 3, name)
    rise = put.volume.hu - head.volume.hu
    assert put.mimic.any() and not (put.mimic & ~head.brain).any()
    assert (rise >= 0).all()
    least = 0.5 if name == "meningioma" else 0.02  # a tumour is hardly denser than a vessel
    assert np.quantile(rise[put.mimic], least) > (8 if name == "meningioma" else 20)
    far = ~(put.mimic | np.roll(put.mimic, 1, 0) | np.roll(put.mimic, -1, 0))
    assert (rise[far] > 0).mean() < 0.002
    again = implant_mimic(head.volume, head.brain, 3, name)
    assert np.array_equal(again.volume.hu, put.volume.hu)


@pytest.mark.slow
def test_the_pixels_of_a_phantom_s_mimic_are_what_it_made_denser() -> None:
    drawn = phantom(4, confounders=("choroid",), scanner=SMALL)
    assert 0 < drawn.denser.sum() < 2000
    inside, brain = drawn.volume.hu[drawn.denser], drawn.volume.hu[drawn.brain]
    assert np.median(inside) > np.median(brain) + 20
    assert not phantom(4, confounders=("infarct",), scanner=SMALL).denser.any()


def test_what_is_drawn_on_demand_alone_leaves_random_phantoms_as_they_were() -> None:
    from training.phantoms.confounders import CONFOUNDERS, random_confounders

    on_demand = {name for name, (often, _) in CONFOUNDERS.items() if not often}
    assert {"metastasis", "laminar", "burr_hole"} <= on_demand
    found, counted = np.random.default_rng(7), np.random.default_rng(7)
    draws = counted.random(len(CONFOUNDERS) - len(on_demand))
    known = [name for name in CONFOUNDERS if name not in on_demand]
    wanted = [n for n, draw in zip(known, draws, strict=True) if draw < CONFOUNDERS[n][0]]
    assert list(random_confounders(found)) == wanted
    assert found.random() == counted.random()  # not one draw more


def test_every_mimic_is_one_of_the_phantoms_confounders() -> None:
    from training.phantoms.confounders import CONFOUNDERS

    assert set(BODIES) < set(NAMES) <= set(CONFOUNDERS)


def test_a_patient_s_head_takes_calcium_inside_its_skull(data: Path) -> None:
    patients = physionet.open_jpg(data / "physionet_ct_ich")
    normal = next(patient for patient, bleeds in patients.bleeding.items() if bleeds == 0)
    (case,) = patients.cases([normal])
    put = implanted(case, "choroid")
    rise = put.volume.hu - case.volume.hu
    assert put.mimic.any() and rise[put.mimic].min() > 20
    sides = np.nonzero(put.mimic)[2] * case.volume.spacing_mm[1]
    assert np.ptp(sides) > 15  # both atria
    assert not implanted(case, NONE).mimic.any()


class Fake:
    """Says of each head in turn what it is given; None cannot be read."""

    def __init__(self, said: Sequence[Findings | None]) -> None:
        self._said = iter(said)

    def detect(self, _volume: Volume) -> Findings:
        found = next(self._said)
        if found is None:
            raise Unreadable("no brain found")
        return found


def test_an_alarm_is_a_suspicion_on_the_mimic_or_beside_it_named_or_not() -> None:
    place = np.zeros(SHAPE, bool)
    place[0, 1, 1] = True
    on = replace(findings(place), mimics=("it may be calcium",))
    beside, clear = findings(~place), findings(place, suspected=False)
    head = Mimicked(cast(Volume, None), place)
    detector = cast(Detector, Fake([on, beside, clear, None]))
    assert alarms(detector, [head] * 4) == [
        Alarm(flagged=True, on_mimic=True, named=True),
        Alarm(flagged=True, on_mimic=False, named=False),
        Alarm(flagged=False, on_mimic=False, named=False),
    ]


def test_the_table_counts_alarms_with_wilson_s_interval_and_calls_phantoms_phantoms() -> None:
    alarm, none = Alarm(True, True, False), Alarm(False, False, False)
    table = published({"phantom, calcium": [alarm, none, none, none]})
    heads, flagged, rate, on_mimic, named = table.rows["phantom, calcium"]
    assert [cell.value for cell in (heads, flagged, on_mimic, named)] == [4, 1, 1, 0]
    assert rate.value == 0.25 and rate.interval == wilson(1, 4)
    assert "phantom numbers" in table.markdown()


@pytest.mark.slow
def test_a_small_run_of_the_shipped_networks_writes_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mimics, "NAMES", {"choroid": NAMES["choroid"]})
    measure_mimics(small_recipe(tmp_path), tmp_path / "out", small=True)
    table = Table.from_json((tmp_path / "out" / "mimics.json").read_text())
    assert list(table.rows) == ["phantom, none", "phantom, calcium of the choroid plexus"]
    assert all(row[0].value == 1 for row in table.rows.values())
