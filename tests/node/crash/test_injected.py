"""A role is killed at each of its durable steps, and goes on where it stood.

Each life of a role dies at the first step at which none died before, until one comes through: so
each kind of step is met once, whatever number of files and objects there is.
"""

import pytest

from node.roles import Role
from tests.support.crashing import (
    RESULT,
    Crashing,
    crashing_node,
    filled,
    head,
    require_delivered_once,
    require_kept,
    require_no_second_copy,
    require_read_once,
)
from tests.support.peers import wait_until

pytestmark = pytest.mark.slow

STEPS = {
    "receive": {
        "before fsync partial/*",
        "before rename received/*/*",
        "after rename received/*/*",
        "before fsync received/*",
        "before commit arrivals.add_all",
        "after commit arrivals.add_all",
        "before answer",
        "after answer",
        "before commit arrivals.release",
        "after commit arrivals.release",
    },
    "work": {
        *(f"before commit cases.claim {state}" for state in ("RECEIVING", "ASSEMBLED", "TRIAGED")),
        *(f"after commit cases.claim {state}" for state in ("RECEIVING", "ASSEMBLED", "TRIAGED")),
        *(f"before fsync cases/*/{name}.json" for name in ("series", "findings", "manifest")),
        *(f"before rename cases/*/report/{kind}.dcm" for kind in ("seg", "sr", "text", "capture")),
        *(f"before commit cases.finish {state}" for state in ("ASSEMBLED", "TRIAGED", "REPORTED")),
        *(f"after commit cases.finish {state}" for state in ("ASSEMBLED", "TRIAGED", "REPORTED")),
    },
    "retract": {"before commit retractions.withdraw", "after commit retractions.withdraw"},
    "deliver": {
        "before commit outbox.claim REPORTED",
        "after commit outbox.claim REPORTED",
        "before send_c_store store_scu._send",
        "after send_c_store store_scu._send",
        "before commit outbox.delivered REPORTED",
        "after commit outbox.delivered REPORTED",
        "before commit outbox.delivered DELIVERED",
        "after commit outbox.delivered DELIVERED",
    },
}
"""Where each role must have died, among others."""


@pytest.fixture
def node(tmp_path, database_url):
    with crashing_node(tmp_path, database_url=database_url) as node:
        yield node


def require_deaths(node: Crashing, role: str) -> None:
    """Fail unless a role, or a command, died at each of its steps."""
    assert STEPS[role] - set(node.mortals.deaths(role)) == set()


def live_and_die(node: Crashing, role: Role, is_done) -> None:
    """Start a role again and again, until it is done; each time but the last it dies."""
    while not is_done():
        life = node.mortals.start(role, doomed=True)
        wait_until(lambda life=life: life.is_over or is_done(), 60)
        node.kill(life)


def test_receiver_that_is_killed_at_each_step_loses_nothing_that_it_acknowledged(node):
    files, sent = head(1), False
    while not sent:
        life = node.mortals.start("receive", doomed=True)
        node.mortals.wait_until_listening(life)
        sent = node.modality.send(files)
        node.kill(life)
        require_kept(node, node.modality.acknowledged)
    require_no_second_copy(node)
    assert len(node.modality.acknowledged) == len(files)
    require_deaths(node, "receive")


def test_worker_that_is_killed_at_each_step_reads_a_study_once(node):
    filled(node, 1, read=False)
    live_and_die(node, "work", lambda: node.states()["REPORTED"] == 1)
    require_deaths(node, "work")
    deliverer = node.mortals.start("deliver")
    wait_until(lambda: node.states()["DELIVERED"] == 1, 60)
    node.kill(deliverer)
    require_read_once(node, 1)
    require_delivered_once(node, 1)
    assert node.repeats == 0


def test_deliverer_that_is_killed_at_each_step_brings_each_object_once(node):
    filled(node, 1, read=True)
    live_and_die(node, "deliver", lambda: node.states()["DELIVERED"] == 1)
    require_deaths(node, "deliver")
    require_read_once(node, 1)
    require_delivered_once(node, 1)
    assert 0 < node.repeats <= len(node.mortals.deaths("deliver")) * node.in_flight


def books(node: Crashing) -> dict[str, list[tuple[object, ...]]]:
    """Return what a retraction changes, table by table."""
    return {
        "cases": node.rows('SELECT id, state, priority, supersedes, reason FROM "case"'),
        "withdrawals": node.rows("SELECT case_id, who, why FROM withdrawal"),
        "owed": sorted(node.rows("SELECT dedup_key, status FROM delivery")),
        "events": node.rows("SELECT what, case_id FROM event WHERE what = 'withdrawn'"),
        "audit": node.rows("SELECT who, about FROM audit WHERE what = 'RETRACTED'"),
    }


def retracted(node: Crashing) -> None:
    """Retract the study again and again, until one comes through; it is whole or not at all."""
    (study,) = node.rows("SELECT study_instance_uid FROM study")
    words = ("retract", *study, "--reason", "wrong bundle", "--by", "anna", "--yes")
    before, after = books(node), None
    while after is None:
        life = node.mortals.command(*words, doomed=True)
        wait_until(lambda life=life: life.is_over, 60)
        node.kill(life)
        found = books(node)
        after = found if found != before else None
    assert [said for _, *said in after["withdrawals"]] == [["anna", "wrong bundle"]]
    assert [len(after[name]) for name in ("cases", "events", "audit")] == [2, 1, 1]
    assert {status for _, status in after["owed"]} <= {"SENT", "CANCELLED"}, "nothing old leaves"
    again = node.mortals.command(*words)
    wait_until(lambda: again.is_over, 60)
    assert books(node) == after, "a person who tries again withdraws nothing twice"
    require_deaths(node, "retract")


def withdrawal_brought(node: Crashing) -> None:
    """Let worker and deliverer die at each step until all of the withdrawal is out."""
    withdraws = 'SELECT state FROM "case" WHERE id IN (SELECT case_id FROM withdrawal)'
    live_and_die(node, "work", lambda: node.rows(withdraws) in ([("REPORTED",)], [("DELIVERED",)]))
    live_and_die(node, "deliver", lambda: node.rows(withdraws) == [("DELIVERED",)])
    assert node.rows("SELECT count(*) FROM delivery WHERE status = 'OWED'") == [(0,)]
    assert node.rows('SELECT attempts FROM "case"') == [(0,), (0,)]
    assert len(node.rows("SELECT who FROM audit WHERE what = 'RETRACTED'")) == 1


@pytest.mark.parametrize("sent", [True, False], ids=["sent", "not sent"])
def test_retraction_that_is_killed_at_each_step_is_brought_once_and_nothing_old_leaves(node, sent):
    filled(node, 1, read=True)
    if sent:
        deliverer = node.mortals.start("deliver")
        wait_until(lambda: node.states()["DELIVERED"] == 1, 60)
        node.kill(deliverer)
    old = set(node.archives[0].got)
    assert len(old) == (len(RESULT) if sent else 0)
    retracted(node)
    withdrawal_brought(node)
    of_withdrawal = "case_id IN (SELECT case_id FROM withdrawal)"
    withdrawn = dict(node.rows(f"SELECT dedup_key, kind FROM delivery WHERE {of_withdrawal}"))
    assert sorted(withdrawn.values()) == ["capture", "sr", "text"]
    for one in node.archives:
        assert set(one.got) == old | set(withdrawn)
        assert all(len(set(times)) == 1 for times in one.got.values()), "one UID, other bytes"
