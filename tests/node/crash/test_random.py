"""Roles are killed at random while studies come in, are read and go out."""

import random
import sys
import time

import pytest

from tests.support.crashing import (
    ROLES,
    Load,
    crashing_node,
    require_delivered_once,
    require_kept,
    require_no_second_copy,
    require_read_once,
    require_whole,
)

ALL_AT_ONCE = 0.1
"""How often all roles are killed together."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "kills", [20, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]
)
def test_node_that_is_killed_at_random_under_load_loses_and_doubles_nothing(
    kills, tmp_path, database_url, capsys
):
    chance, done = random.Random(kills), dict.fromkeys(ROLES, 0)
    with crashing_node(tmp_path, database_url=database_url) as node:
        lives = node.start()
        with Load(node) as load:
            while sum(done.values()) < kills:
                time.sleep(chance.expovariate(2.0))  # lives of any length
                together = chance.random() < ALL_AT_ONCE
                for role in ROLES if together else [chance.choice(ROLES)]:
                    node.kill(lives[role])
                    lives[role] = node.mortals.start(role)
                    done[role] += 1
        studies = len(load.files)
        node.wait_until_delivered(studies, 60 + 3 * studies)
    assert len(node.modality.acknowledged) == sum(map(len, load.files))
    require_kept(node, node.modality.acknowledged)
    require_no_second_copy(node)
    require_read_once(node, studies)
    require_delivered_once(node, studies)
    require_whole(node)
    assert node.repeats <= done["deliver"] * node.in_flight
    with capsys.disabled():
        objects = len(node.modality.acknowledged)
        said = f"{studies} studies, {objects} objects, {node.repeats} sent twice as one object"
        sys.stdout.write(f"\nkilled {done}: {said}\n")
