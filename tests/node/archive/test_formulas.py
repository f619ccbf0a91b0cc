"""Closed forms of waits: textbooks' figures, and a Markov chain solved state by state."""

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve

from node.archive.minutes import Group, ReadingTime, expected
from node.archive.minutes.formulas import (
    Stream,
    erlang_c,
    starts_in_turn,
    starts_pre_emptive,
    wait_mmc,
    waits_pre_emptive,
)
from tests.node.archive.departments import department


def exponential(per_min: float, mean_min: float = 1.0) -> Stream:
    return Stream(per_min, mean_min, 2 * mean_min**2)


def test_one_server_waits_as_m_m_1() -> None:
    assert erlang_c(1, 0.8) == pytest.approx(0.8)
    assert wait_mmc(1, 0.08, 10) == pytest.approx(40)


def test_an_eye_clinic_with_three_doctors_waits_as_in_the_textbook() -> None:
    """Gross and Harris, Fundamentals of Queueing Theory: 6 an hour, 20 minutes each; 4/27 h."""
    assert erlang_c(3, 2.0) == pytest.approx(4 / 9)
    assert wait_mmc(3, 6 / 60, 20) == pytest.approx(4 / 27 * 60)


def test_two_priorities_wait_as_reckoned_by_hand() -> None:
    """Rates 0.2 and 0.6, mean 1: they stay for 2 and 6 in turn, for 1.25 and 6.25 pre-emptive."""
    streams = [exponential(0.2), exponential(0.6)]
    assert starts_in_turn(streams) == pytest.approx([2 - 1, 6 - 1])
    first, last = starts_pre_emptive(streams)
    assert (first + 1, last + 1 / (1 - 0.2)) == pytest.approx((1.25, 6.25))
    assert waits_pre_emptive(1, [0.2, 0.6], 1.0) == pytest.approx([0.25, 5.25])


def test_equal_minutes_wait_half_as_long_as_exponential_ones() -> None:
    """Pollaczek and Khinchine: M/D/1 waits half as long as M/M/1."""
    assert starts_in_turn([Stream(0.8, 1.0, 1.0)]) == pytest.approx([wait_mmc(1, 0.8, 1.0) / 2])


def chain(servers: int, rates: tuple[float, float], *, stops: bool) -> tuple[float, float]:
    """Mean waits of two streams of mean 1, from the balance of the states' flows.

    A state is what is in hand of the second stream, and what is there of both. Where nothing is
    stopped, the first has the servers that the second leaves to it.
    """
    most = 25
    places: dict[tuple[int, int, int], int] = {}
    flows: list[tuple[tuple[int, int, int], tuple[int, int, int], float]] = []

    def settle(n1: int, n2: int, held: int) -> tuple[int, int, int]:
        """Let free servers take up first the one stream, then the other."""
        if stops:
            return n1, n2, min(n2, max(0, servers - n1))
        return n1, n2, min(n2, max(held, servers - n1))

    def moves(n1: int, n2: int, held: int) -> list[tuple[tuple[int, int, int], float]]:
        busy1 = min(n1, servers - held)
        found = []
        if n1 < most:
            found.append((settle(n1 + 1, n2, held), rates[0]))
        if n2 < 2 * most:
            found.append((settle(n1, n2 + 1, held), rates[1]))
        if busy1:
            found.append((settle(n1 - 1, n2, held), float(busy1)))
        if held:
            found.append((settle(n1, n2 - 1, held - 1), float(held)))
        return found

    todo = [(0, 0, 0)]
    while todo:
        state = todo.pop()
        if state in places:
            continue
        places[state] = len(places)
        for other, rate in moves(*state):
            flows.append((state, other, rate))
            todo.append(other)
    count = len(places)
    rows = [places[state] for state, _, _ in flows]
    columns = [places[other] for _, other, _ in flows]
    values = [rate for *_, rate in flows]
    rate = sparse.csr_array((values, (columns, rows)), shape=(count, count))
    balance = sparse.lil_array(rate - sparse.diags_array(rate.sum(axis=0)))
    balance[0] = np.ones(count)
    chances = spsolve(balance.tocsc(), np.eye(1, count)[0])
    states = np.array(list(places))
    n1, n2 = chances @ states[:, 0], chances @ states[:, 1]
    return n1 / rates[0] - 1, n2 / rates[1] - 1


@pytest.mark.parametrize("servers", [1, 2, 3])
def test_priorities_wait_as_the_markov_chain_says(servers: int) -> None:
    rates = (0.2 * servers, 0.35 * servers)
    streams = [exponential(rate) for rate in rates]
    in_turn, stopped = (chain(servers, rates, stops=stops) for stops in (False, True))
    assert starts_in_turn(streams, servers) == pytest.approx(in_turn, rel=1e-3)
    assert waits_pre_emptive(servers, rates, 1.0) == pytest.approx(stopped, rel=1e-3)


def test_without_priorities_several_streams_wait_alike() -> None:
    found = expected(department(sensitivity=0.0, specificity=1.0))
    assert found is not None
    assert found.model == "M/M/1, non-pre-emptive priority"
    assert found.without == pytest.approx(dict.fromkeys(found.without, 40.0))
    assert found.with_node == pytest.approx(found.without)
    assert Group.FOUND not in found.without


@pytest.mark.parametrize("flag_interrupts", [False, True])
def test_a_perfect_node_gains_what_the_rest_loses(flag_interrupts: bool) -> None:
    """Kleinrock's conservation law: with equal exponential readings the mean wait stays."""
    found = expected(department(sensitivity=1.0, specificity=1.0, flag_interrupts=flag_interrupts))
    assert found is not None and Group.MISSED not in found.without
    gained = 0.1 * found.sooner(Group.FOUND) + 0.9 * found.sooner(Group.OTHERS)
    assert gained == pytest.approx(0, abs=1e-9)
    assert found.sooner(Group.FOUND) > 25


def test_a_node_that_flags_at_random_gains_nothing_for_bleeds() -> None:
    found = expected(department(sensitivity=0.3, specificity=0.7))
    assert found is not None
    assert found.sooner(Group.BLEEDS) == pytest.approx(0, abs=1e-9)
    assert found.sooner(Group.OTHERS) == pytest.approx(0, abs=1e-9)
    assert found.sooner(Group.FOUND) > 0 > found.sooner(Group.MISSED)


def test_two_radiologists_with_nothing_else_to_tell_apart_have_a_formula() -> None:
    several = {"radiologists": (2,) * 24, "studies_per_hour": (9.6,) * 24}
    stops = {"interruptions_per_hour": (1.0,) * 24}
    assert expected(department(**several)) is not None
    assert expected(department(**several, other=ReadingTime.exponential(5))) is None
    assert expected(department(**several, other=ReadingTime.lognormal(10, 3))) is None
    alike = stops | {"interruption": ReadingTime.exponential(10), "studies_per_hour": (8.0,) * 24}
    assert expected(department(**several | alike)) is None
    assert expected(department(**several | alike, flag_interrupts=True)) is not None


def test_hours_that_differ_have_no_formula() -> None:
    assert expected(department(studies_per_hour=(2.0,) * 12 + (6.0,) * 12)) is None
    assert expected(department(radiologists=(1,) * 12 + (2,) * 12)) is None


SETTINGS = {
    "inputs/config.dat": (0.9, 0.1912, 2.6528, 53.2642, 32.2860),
    "scripts/README.md": (1.0, 0.1, 1.7925, None, 38.2075),
}
"""QuCAD's published settings, at DIDSR/QuCAD 269e103: traffic 0.8, one radiologist, 10 minutes,
prevalence 0.1, no interrupting; sensitivity and false-positive fraction (inputs/exampleROC.dat).
Then the waits of flagged and unflagged studies, and the minutes saved for the diseased, computed
by the formulas that it is published with (M/M/1, pre-emptive resume)."""


@pytest.mark.parametrize("name", SETTINGS)
def test_the_settings_that_qucad_is_published_with_give_what_its_formulas_give(name: str) -> None:
    sensitivity, false_positive, flagged, unflagged, saved = SETTINGS[name]
    assert sensitivity is not None and false_positive is not None
    found = expected(
        department(sensitivity=sensitivity, specificity=1 - false_positive, flag_interrupts=True)
    )
    assert found is not None and found.model == "M/M/1, pre-emptive priority"
    assert found.without[Group.BLEEDS] == pytest.approx(40)
    assert found.with_node[Group.FOUND] == pytest.approx(flagged, abs=1e-4)
    assert found.with_node.get(Group.MISSED) == (unflagged and pytest.approx(unflagged, abs=1e-4))
    assert found.sooner(Group.BLEEDS) == pytest.approx(saved, abs=1e-4)
