"""Average run lengths of CUSUM charts, and the limits that give a wanted one.

A run length is the number of observations from a chart at zero up to and with its alarm. Charts are
Markov chains (Brook and Evans, Biometrika 59:539, 1972): of a rate exactly, since the chart moves
on a lattice (Reynolds and Stoumbos, J. Qual. Technol. 31:87, 1999); of a normal mean with its range
cut into states.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import brentq
from scipy.sparse.linalg import spsolve
from scipy.stats import norm

STATES = 201
"""Of the chain of a normal mean: run lengths are within 0.1 % of those of twice as many."""


def normal_run_length(
    limit: float, reference: float = 0.5, shift: float = 0.0, states: int = STATES
) -> float:
    """Return the average run length of a one-sided tabular CUSUM of standard normal values.

    Parameters
    ----------
    limit, reference
        h and k, in standard deviations.
    shift
        The mean, in standard deviations; above 0 it moves towards the limit.
    """
    width = 2 * limit / (2 * states - 1)
    here = np.arange(states)[:, None]
    upper = width * (np.arange(states)[None] - here + 0.5) + reference - shift
    below: NDArray[np.float64] = norm.cdf(upper)
    moves = np.diff(below, axis=1, prepend=0.0)  # state 0 takes all that is below it
    return float(np.linalg.solve(np.eye(states) - moves, np.ones(states))[0])


def rate_run_length(limit: int, up: int, down: int, rate: float) -> float:
    """Return the average run length of a CUSUM of yes and no.

    Parameters
    ----------
    limit
        Steps of the lattice at which it alarms.
    up, down
        Steps that a yes moves it up, and a no down, but not below 0.
    rate
        How often the answer is yes.
    """
    here = np.arange(limit)
    higher = here[here + up < limit]
    moves = sparse.csc_array(
        (
            np.r_[np.full(len(higher), rate), np.full(limit, 1 - rate)],
            (np.r_[higher, here], np.r_[higher + up, np.maximum(here - down, 0)]),
        ),
        shape=(limit, limit),
    )
    stays = sparse.eye_array(limit, format="csc") - moves
    return float(np.atleast_1d(spsolve(stays, np.ones(limit)))[0])


def normal_limit(run_length: float, reference: float = 0.5) -> float:
    """Return the limit h at which a one-sided tabular CUSUM in control has a run length."""
    high = 1.0
    while normal_run_length(high, reference) < run_length:
        high *= 2
    low = high / 2 if high > 1 else 1e-6
    found = brentq(lambda h: normal_run_length(h, reference) - run_length, low, high, rtol=1e-6)
    return float(found)


def rate_limit(run_length: float, up: int, down: int, rate: float) -> int:
    """Return the least limit at which a CUSUM of yes and no has at least a run length."""
    high = 1
    while rate_run_length(high, up, down, rate) < run_length:
        high *= 2
    return _least(high // 2, high, lambda h: rate_run_length(h, up, down, rate) >= run_length)


def _least(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return the least number above `low` from which on it holds; it holds at `high`."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def together(*run_lengths: float) -> float:
    """Return the average run length of charts that every observation moves, until the first alarm.

    Of the two sides of a tabular CUSUM of a mean it is exact (Van Dobben de Bruyn, Cumulative Sum
    Tests, 1968). Of other charts it is a bound: their first alarm comes no sooner, in the mean,
    since the chance of any alarm is at most the sum of the chances of each.
    """
    return 1 / sum(1 / length for length in run_lengths)
