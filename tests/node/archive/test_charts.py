"""Run lengths of CUSUM charts against published tables and simulation, and what charts find."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from math import exp, log, sqrt
from pathlib import Path

import numpy as np
import pytest

from node.archive.charts import (
    Alarm,
    MeanChart,
    Plan,
    RateChart,
    follow,
    normal_run_length,
    read_outcomes,
    standings,
    together,
)
from node.archive.charts.cusum import Chart, Side
from node.archive.charts.outcomes import Study
from node.errors import BadConfiguration

SHIFTS = (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4)
LUCAS_CROSIER = (168, 74.2, 26.6, 13.3, 8.38, 4.75, 3.34, 2.62, 2.19, 1.71)
"""Technometrics 24:199, 1982, Table 1, without a head start: h = 4, k = 0.5, two-sided. They stand
in Montgomery's Introduction to Statistical Quality Control, Table 9.3, too."""
MONTGOMERY = (465, 139, 38.0, 17.0, 10.4, 5.75, 4.01, 3.11, 2.57, 2.01)
"""Introduction to Statistical Quality Control, Table 9.3: h = 5, k = 0.5, two-sided."""


def two_sided(limit: float, shift: float) -> float:
    return together(normal_run_length(limit, 0.5, shift), normal_run_length(limit, 0.5, -shift))


def figures(value: float) -> float:
    """Half of the last of three figures, and a tenth more for 17.05 that became 17.0."""
    return float(0.0055 * 10 ** np.floor(np.log10(value)))


@pytest.mark.parametrize(("limit", "published"), [(4, LUCAS_CROSIER), (5, MONTGOMERY)])
def test_two_sided_charts_of_a_mean_run_as_published(
    limit: float, published: tuple[float, ...]
) -> None:
    for shift, length in zip(SHIFTS, published, strict=True):
        assert two_sided(limit, shift) == pytest.approx(length, abs=figures(length))


def test_a_one_sided_chart_of_a_mean_runs_as_brook_and_evans_found() -> None:
    """Biometrika 59:539, 1972, section 4.3: k = 0.5, h = 3."""
    assert normal_run_length(3, 0.5, 0.0) == pytest.approx(117.59, abs=0.02)
    assert normal_run_length(3, 0.5, 1.5) == pytest.approx(3.75, abs=0.005)


VANCE = {-0.25: 2071.51, -0.125: 400.28, 0: 124.66, 0.125: 59.30, 0.25: 36.71, 0.5: 20.37, 1: 10.75}
"""J. Qual. Technol. 18:189, 1986, Table 1: k = 0, h = 10, one-sided, by an integral equation."""


@pytest.mark.parametrize("shift", VANCE)
def test_the_chain_gives_what_the_integral_equation_gives(shift: float) -> None:
    assert normal_run_length(10, 0.0, shift) == pytest.approx(VANCE[shift], rel=1e-3)


def test_more_states_change_no_run_length() -> None:
    assert normal_run_length(5, 0.5, 0.0) == pytest.approx(
        normal_run_length(5, 0.5, 0.0, states=402), rel=1e-3
    )


def run_lengths(chart: Chart, draw: Callable[[], np.ndarray]) -> np.ndarray:
    """The first alarms of a chart in many series at once; `draw` gives the next value of each."""
    stands = np.zeros(len(draw()))
    found = np.zeros(len(stands), int)
    at = 0
    while (found == 0).any():
        at += 1
        stands = np.maximum(0, stands + np.array([chart.move(value) for value in draw()]))
        found[(found == 0) & (stands > chart.limit - 1e-9)] = at
    return found


def agree(found: np.ndarray, meant: float) -> bool:
    """Whether run lengths have this mean, within 3.3 standard errors (99.9 %)."""
    return bool(abs(found.mean() - meant) < 3.3 * found.std() / sqrt(len(found)))


RATES = [(0.15, 0.26), (0.15, 0.08), (0.02, 0.04), (0.9, 0.8)]


@pytest.mark.parametrize(("usual", "shifted"), RATES)
def test_a_chart_of_a_rate_runs_in_and_out_of_control_as_the_chain_says(
    usual: float, shifted: float
) -> None:
    chart = RateChart.designed(usual, shifted, 200)
    rng = np.random.default_rng(3)
    for rate in (usual, shifted):
        found = run_lengths(chart, lambda rate=rate: (rng.random(400) < rate).astype(float))
        assert agree(found, chart.run_length(rate))
    assert 200 <= chart.run_length(usual) < 230


@pytest.mark.parametrize("side", Side)
def test_a_chart_of_a_mean_runs_in_and_out_of_control_as_the_chain_says(side: Side) -> None:
    chart = MeanChart.designed(side, 50.0, 4.0, 1.0, 200)
    rng = np.random.default_rng(4)
    for mean in (50.0, 54.0 if side is Side.RISE else 46.0):
        found = run_lengths(chart, lambda mean=mean: rng.normal(mean, 4.0, 400))
        assert agree(found, chart.run_length(mean))
    assert chart.run_length(50.0) == pytest.approx(200, rel=1e-3)


def approximate(chart: RateChart) -> float:
    """Reynolds and Stoumbos' corrected diffusion approximation (J. Qual. Technol. 31:87, 1999).

    It is exact nowhere and close where rates are low.
    """
    p, q = chart.usual, chart.shifted
    r1, r2 = -log((1 - q) / (1 - p)), log(q * (1 - p) / (p * (1 - q)))
    if p < 0.01:
        late = (sqrt((1 - p) / p) - sqrt(p / (1 - p))) / 3
    else:
        powers = {1: -0.0842, 3: -0.0391, 4: -0.00376, 7: -0.000008}
        late = 0.410 + sum(factor * log(p) ** power for power, factor in powers.items())
    high = (chart.limit + late * sqrt(p * (1 - p))) * r2
    return (exp(high) - high - 1) / abs(r2 * p - r1)


@pytest.mark.parametrize(
    ("usual", "shifted", "within"),
    [(0.15, 0.26, 0.1), (0.05, 0.1, 0.05), (0.01, 0.02, 0.05), (0.002, 0.005, 0.05)],
)
def test_charts_of_rates_run_nearly_as_reynolds_and_stoumbos_approximate(
    usual: float, shifted: float, within: float
) -> None:
    chart = RateChart.designed(usual, shifted, 20_000)
    assert chart.run_length(usual) == pytest.approx(approximate(chart), rel=within)


def test_a_fall_is_found_as_a_rise_of_the_opposite() -> None:
    fall, rise = RateChart.designed(0.8, 0.7, 1000), RateChart.designed(0.2, 0.3, 1000)
    assert (fall.side, rise.side) == (Side.FALL, Side.RISE)
    assert fall.run_length(0.7) == pytest.approx(rise.run_length(0.3))
    assert fall.move(0) == rise.move(1) > 0 > fall.move(1) == rise.move(0)


def test_a_rate_near_0_has_a_chart_for_its_fall() -> None:
    chart = RateChart.designed(0.002, 0.001, 2000)
    assert 2000 <= chart.run_length(0.002) < 2200
    assert chart.run_length(0.001) < chart.run_length(0.002)


def test_an_alarm_names_the_value_that_raised_it_and_the_first_of_the_climb() -> None:
    chart = MeanChart(Side.RISE, usual=0, deviation=1, reference=0.5, limit=4)
    values = [0, 2, -3, 0.5, 2, 2, 2, 0, 3, 3]
    stands, alarms = follow(chart, values)
    assert alarms == [Alarm(at=6, since=4), Alarm(at=9, since=8)]
    assert stands == 5
    assert follow(chart, values[:-1]) == (2.5, alarms[:1])


def test_the_first_false_alarm_of_a_family_comes_no_sooner_than_stated() -> None:
    """Two scanners, half of the studies each, charts of a rise and a fall of two rates."""
    plan = Plan(run_length=150, kinds=2)
    rng = np.random.default_rng(5)
    charts = [
        RateChart.designed(usual, shifted, plan.each)
        for usual, shifted in ((0.15, 0.26), (0.15, 0.08), (0.9, 0.95), (0.9, 0.82))
    ]
    up, down = (np.array([chart.move(value) for chart in charts]) for value in (1.0, 0.0))
    limits = np.array([chart.limit for chart in charts]) - 1e-9
    runs = np.arange(600)
    stands, first, at = np.zeros((600, 2, 4)), np.zeros(600, int), 0
    while (first == 0).any():
        at += 1
        scanner = rng.integers(2, size=600)
        answers = np.repeat(rng.random((600, 2)) < (0.15, 0.9), 2, axis=1)
        moved = np.maximum(0, stands[runs, scanner] + np.where(answers, up, down))
        stands[runs, scanner] = moved
        first[(first == 0) & (moved > limits).any(axis=1)] = at
    error = first.std() / sqrt(len(first))
    assert 150 - 2 * error < first.mean() < 1.35 * 150


START = datetime(2026, 11, 1, tzinfo=UTC)


def studies(scanner: str, values: Iterable[float]) -> list[Study]:
    """Studies of one scanner, one an hour."""
    return [
        Study(START + timedelta(hours=hour), scanner, float(value))
        for hour, value in enumerate(values)
    ]


def test_a_scanner_whose_rate_doubles_is_told_apart_from_one_that_stays() -> None:
    rng = np.random.default_rng(6)
    usual, doubled = rng.random(900) < 0.15, rng.random(300) < 0.3
    both = [*studies("A", usual), *studies("B", [*usual[:600], *doubled])]
    found, left_out = standings(both, Plan(run_length=2000))
    assert left_out == {}
    assert [(one.scanner, one.side, bool(one.alarms)) for one in found] == [
        *(("A", Side.RISE, False), ("A", Side.FALL, False)),
        *(("B", Side.RISE, True), ("B", Side.FALL, False)),
    ]
    risen = found[2]
    first = risen.alarms[0]
    assert 500 < first.since_study <= 640 < first.study < 601 + 3 * risen.delay
    assert first.time == START + timedelta(hours=first.study - 1)
    assert (risen.studies, risen.charted) == (900, 700)
    assert 4000 <= risen.run_length < 4200
    assert risen.run_length_if_off is not None and risen.run_length_if_off < risen.run_length


def test_a_mean_that_falls_is_found_and_what_is_usual_may_be_stated() -> None:
    rng = np.random.default_rng(7)
    values = [*rng.normal(20, 2, 300), *rng.normal(18, 2, 60)]
    found, _ = standings(studies("A", values), Plan(usual=20.0, deviation=2.0))
    rise, fall = found
    assert not rise.alarms and fall.alarms[0].study > 300
    assert (fall.looked_for, fall.charted, fall.run_length_if_off) == (18.0, 360, None)
    assert fall.delay < 20


def test_ranks_keep_the_run_length_of_values_that_are_far_from_normal() -> None:
    rng = np.random.default_rng(8)
    series = studies("A", rng.lognormal(3, 1, 8000))
    plan = {"run_length": 1000.0, "baseline": 4000}
    plain, _ = standings(series, Plan(**plan))
    ranked, _ = standings(series, Plan(**plan, ranks=True))
    assert len(plain[0].alarms) > 12
    assert sum(len(one.alarms) for one in ranked) <= 9  # 4 are meant
    slower = [*series[:5000], *studies("A", rng.lognormal(4, 1, 50))]
    assert standings(slower, Plan(**plan, ranks=True))[0][0].alarms[-1].study > 5000


def test_a_scanner_with_too_few_studies_or_none_that_differ_is_left_out_by_name() -> None:
    few, same = studies("few", [0.1] * 10), studies("same", [0.5] * 300)
    found, left_out = standings([*few, *same], Plan())
    assert found == []
    assert left_out == {
        "few": "10 studies, of which 200 are its baseline",
        "same": "its baseline has the same value throughout",
    }


@pytest.mark.parametrize(
    ("values", "plan", "said"),
    [
        ([0, 1], Plan(ranks=True), "a rate: they have no ranks"),
        ([0, 1], Plan(usual=1.0), "the usual rate lies between 0 and 1"),
        ([0.5], Plan(usual=20.0), "both what is usual and its deviation, or neither"),
        ([0.5], Plan(deviation=2.0), "both what is usual and its deviation, or neither"),
        ([0.5], Plan(usual=20.0, deviation=0.0), "the deviation is above 0"),
        ([0.5], Plan(usual=20.0, deviation=1.0, ranks=True), "state nothing usual"),
    ],
)
def test_a_plan_that_does_not_go_with_the_values_is_refused(
    values: list[float], plan: Plan, said: str
) -> None:
    with pytest.raises(BadConfiguration, match=said):
        standings(studies("A", values), plan)


def test_a_rate_that_was_0_throughout_has_charts() -> None:
    found, _ = standings(studies("A", [0] * 300 + [1] * 20), Plan())
    assert found[0].alarms and found[0].usual == pytest.approx(0.5 / 201)


def test_outcomes_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    file = tmp_path / "outcomes.csv"
    file.write_text(
        "scanner;value;time\nB;1;2026-11-02T08:00:00+00:00\nA;0;2026-11-01T08:00:00+00:00\n"
    )
    assert [(one.scanner, one.value) for one in read_outcomes(file)] == [("A", 0.0), ("B", 1.0)]
    file.write_text("scanner,value,time\nB,1,2026-11-02T08:00:00Z\nA,0,2026-11-01T08:00:00\n")
    with pytest.raises(BadConfiguration, match="some times have a zone and some have none"):
        read_outcomes(file)
    file.write_text("scanner,value,time\nB,yes,2026-11-02T08:00:00Z\n")
    with pytest.raises(BadConfiguration, match="line 2: 'yes' is no number"):
        read_outcomes(file)
    file.write_text("scanner,value,time\nB,nan,2026-11-02T08:00:00Z\n")
    with pytest.raises(BadConfiguration, match="line 2: 'nan' is no finite number"):
        read_outcomes(file)
