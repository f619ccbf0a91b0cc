"""The simulated reading room: small days by hand, then long ones against the closed forms."""

from typing import Any

import numpy as np
import pytest

from node.archive.minutes import Group, Outcome, ReadingTime, Run, simulate
from node.archive.minutes.queue import waits
from node.archive.minutes.simulated import interval
from node.errors import BadConfiguration
from tests.node.archive.departments import department

ALWAYS_ONE = (1,) * 24
RUN = Run(days=15, replications=12, seed=20261130)
SURE = 1.6
"""So much wider than at 95 % is the interval at 99.7 %, of twelve replications."""


def waited(arrivals: list[tuple[float, float, int]], **given: Any) -> list[float]:
    """Waits of (arrival, minutes, level), one radiologist if nothing else is given."""
    at, minutes, levels = (np.array(column) for column in zip(*arrivals, strict=True))
    found = waits(
        at.astype(float), minutes.astype(float), levels, **{"by_hour": ALWAYS_ONE} | given
    )
    return [round(float(wait), 9) for wait in found]


def test_studies_of_one_level_are_read_as_they_come() -> None:
    assert waited([(0, 10, 1), (1, 5, 1), (2, 5, 1)]) == [0, 9, 13]


def test_a_flagged_study_is_read_next() -> None:
    assert waited([(0, 10, 2), (1, 5, 2), (2, 5, 1)]) == [0, 14, 8]


def test_who_interrupts_is_read_at_once_and_the_reading_goes_on_where_it_stopped() -> None:
    stopping = frozenset({0})
    assert waited([(0, 10, 2), (4, 5, 0), (5, 1, 2)], stopping=stopping) == [5, 0, 10]


def test_a_reading_that_was_stopped_goes_on_before_a_flagged_study_that_may_not_stop_it() -> None:
    arrivals = [(0, 10, 2), (4, 5, 0), (5, 1, 1)]
    assert waited(arrivals, stopping=frozenset({0})) == [5, 0, 10]
    assert waited(arrivals, stopping=frozenset({0, 1})) == [6, 0, 4]


def test_one_that_interrupts_waits_for_another_that_does() -> None:
    stopping = frozenset({0})
    assert waited([(0, 10, 2), (4, 5, 0), (6, 5, 0)], stopping=stopping) == [10, 0, 3]


def test_a_flag_that_interrupts_gives_way_to_what_interrupts_all() -> None:
    stopping = frozenset({0, 1})
    assert waited([(0, 10, 2), (2, 6, 1), (4, 3, 0)], stopping=stopping) == [9, 3, 0]


def test_of_two_readings_the_later_one_of_the_lower_level_is_stopped() -> None:
    given = {"stopping": frozenset({0}), "by_hour": (2,) * 24}
    assert waited([(0, 10, 2), (1, 10, 2), (2, 4, 0)], **given) == [0, 4, 0]
    assert waited([(0, 10, 2), (1, 10, 1), (2, 4, 0)], **given) == [4, 0, 0]


def test_nobody_reads_at_night_and_who_goes_finishes_the_reading_in_hand() -> None:
    day = {"by_hour": (1, *(0,) * 22, 2)}
    assert waited([(50, 20, 1), (55, 5, 1), (61, 5, 1)], **day) == [0, 23 * 60 - 55, 23 * 60 - 61]


def test_who_interrupts_a_reading_after_hours_is_read() -> None:
    day = {"by_hour": (2, *(0,) * 23), "stopping": frozenset({0})}
    assert waited([(50, 20, 1), (55, 20, 1), (62, 5, 0)], **day) == [0, 1440 - 62, 0]


def agrees(outcome: Outcome) -> bool:
    """Whether every simulated mean is where theory says, within its interval at 99.7 %."""
    theory = outcome.theory
    assert theory is not None
    return all(
        abs(found.mean - meant) <= SURE * (found.high - found.mean)
        for line in outcome.lines
        for found, meant in (
            (line.without, theory.without[line.group]),
            (line.with_node, theory.with_node[line.group]),
            (line.sooner, theory.sooner(line.group)),
        )
    )


LOGNORMAL = {"bleeding": ReadingTime.lognormal(14, 9), "other": ReadingTime.lognormal(8, 6)}
STOPS = {"interruptions_per_hour": (2.0,) * 24, "interruption": ReadingTime.exponential(5)}
ROOMS: dict[str, dict[str, Any]] = {
    "one radiologist": {},
    "one, a flag interrupts": {"flag_interrupts": True},
    "three": {"radiologists": (3,) * 24, "studies_per_hour": (14.4,) * 24},
    "three, a flag interrupts": {
        "radiologists": (3,) * 24,
        "studies_per_hour": (14.4,) * 24,
        "flag_interrupts": True,
    },
    "one, interrupted": LOGNORMAL | STOPS | {"studies_per_hour": (4.0,) * 24},
    "one, interrupted, a flag interrupts": (
        LOGNORMAL | STOPS | {"studies_per_hour": (4.0,) * 24, "flag_interrupts": True}
    ),
    "two, interrupted, a flag interrupts": (
        STOPS
        | {
            "interruption": ReadingTime.exponential(10),
            "radiologists": (2,) * 24,
            "studies_per_hour": (7.0,) * 24,
            "flag_interrupts": True,
        }
    ),
    "one, from a list": {"other": ReadingTime.as_listed((4.0, 6.0, 20.0))},
}


@pytest.mark.parametrize("room", ROOMS)
def test_the_simulation_agrees_with_theory(room: str) -> None:
    assert agrees(simulate(department(**ROOMS[room]), RUN))


def test_the_settings_that_qucad_is_published_with_are_simulated_within_the_interval() -> None:
    """See `test_formulas.SETTINGS`: saved are 32.286 minutes by QuCAD's formulas."""
    room = department(specificity=1 - 0.1912, flag_interrupts=True)
    outcome = simulate(room, Run(days=30, replications=20, seed=269))
    saved = outcome.line(Group.BLEEDS).sooner
    assert agrees(outcome)
    assert saved.holds(32.286)
    assert outcome.line(Group.MISSED).sooner.high < 0


def test_without_flags_nobody_waits_longer_or_shorter() -> None:
    outcome = simulate(department(sensitivity=0.0, specificity=1.0), RUN)
    assert [line.group for line in outcome.lines] == [Group.MISSED, Group.BLEEDS, Group.OTHERS]
    assert all(line.sooner.low == line.sooner.high == 0 for line in outcome.lines)


def test_a_perfect_node_misses_nothing_and_the_rest_waits_for_it() -> None:
    outcome = simulate(department(sensitivity=1.0, specificity=1.0), RUN)
    assert [line.group for line in outcome.lines] == [Group.FOUND, Group.BLEEDS, Group.OTHERS]
    assert outcome.line(Group.FOUND).sooner.low > 0 > outcome.line(Group.OTHERS).sooner.high


def test_a_node_that_flags_at_random_gains_nothing() -> None:
    outcome = simulate(department(sensitivity=0.3, specificity=0.7), RUN)
    assert outcome.line(Group.BLEEDS).sooner.holds(0)
    assert outcome.line(Group.FOUND).sooner.low > 0 > outcome.line(Group.MISSED).sooner.high


def test_hours_of_the_day_are_simulated_and_have_no_formula() -> None:
    busy = (1.0,) * 8 + (8.0,) * 10 + (2.0,) * 6
    room = department(studies_per_hour=busy, radiologists=(1,) * 8 + (2,) * 10 + (1,) * 6)
    outcome = simulate(room, Run(days=10, replications=4))
    assert outcome.theory is None
    assert outcome.to_json()["groups"][0]["closed_form"] is None
    assert outcome.line(Group.FOUND).studies / 40 == pytest.approx(100 * 0.09, rel=0.15)
    assert outcome.line(Group.FOUND).sooner.low > 0


def test_a_list_that_grows_for_ever_is_refused() -> None:
    with pytest.raises(BadConfiguration, match=r"cannot keep up: 1\.00 minutes.*more radiologists"):
        simulate(department(studies_per_hour=(6.0,) * 24), RUN)
    with pytest.raises(BadConfiguration, match="cannot keep up: inf"):
        simulate(department(radiologists=(0,) * 24), RUN)


def test_the_same_seed_gives_the_same_minutes_and_another_seed_others() -> None:
    first, again, other = (
        simulate(department(), Run(days=2, replications=2, seed=seed)).lines for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_busier_room_settles_longer() -> None:
    days = [department(studies_per_hour=(rate,) * 24).settling_days for rate in (1.0, 4.8, 5.7)]
    assert days == sorted(days) and days[0] == 1 and days[-1] > 20


def test_reading_times_have_the_mean_and_spread_that_are_stated() -> None:
    rng = np.random.default_rng(0)
    for time in (
        ReadingTime.exponential(7),
        ReadingTime.lognormal(7, 4),
        ReadingTime.as_listed((2.0, 5.0, 14.0)),
    ):
        drawn = time.draw(rng, 200_000)
        assert drawn.mean() == pytest.approx(time.mean_min, rel=0.02)
        assert (drawn**2).mean() == pytest.approx(time.square_min2, rel=0.03)


def test_ninety_five_of_a_hundred_intervals_hold_the_mean() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        counts = rng.poisson(30, 12).astype(float)
        sums = np.array([rng.exponential(5, int(count)).sum() for count in counts])
        held += interval(sums, counts).holds(5.0)
    assert 925 <= held <= 970


def test_nothing_counted_has_no_mean() -> None:
    assert np.isnan(interval(np.zeros(3), np.zeros(3)).mean)
