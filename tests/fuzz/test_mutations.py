"""Nearly valid input is taken or refused by the errors that the node documents."""

import random
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.behind import Door
from tests.fuzz.doors import DOORS
from tests.fuzz.mutations import mutated, with_line
from tests.fuzz.seeds import SEEDS, SERIES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # pydicom warns of each odd value
]

WITHOUT_CODECS = (
    *("pdus", "header", "volume", "attributes", "adt", "query", "commitment", "mllp"),
    *("acknowledgement", "webhook", "mail", "stow", "web", "medium", "settings"),
)


@pytest.fixture(scope="module")
def doors() -> Iterator[dict[str, Door]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(DOORS[name]()) for name in WITHOUT_CODECS}


@pytest.mark.parametrize("name", WITHOUT_CODECS)
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
@given(seed=st.integers(0, 1 << 32))
def test_nearly_valid_input_is_taken_or_refused(
    name: str, seed: int, doors: dict[str, Door]
) -> None:
    known = list(SEEDS[name].values())
    chance, change = random.Random(seed), with_line if SEEDS[name] is SERIES else mutated
    doors[name](change(chance.choice(known), known, chance))
