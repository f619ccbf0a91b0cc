"""The clock and the predictor of a node that works without networks."""

import pytest

from tests.support.working import Clock, Predictor


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def predictor() -> Predictor:
    return Predictor()
