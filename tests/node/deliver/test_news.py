"""What is said of a study, when, to whom, and in which order."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest
from pydicom import dcmread

from node.arrive.filing import ingest
from node.arrive.spool import Spool
from node.cases.tell import teller
from node.deliver.loop import escalation_steps
from node.dicom.read.header import read_header
from node.errors import Retryable
from node.news import News
from node.outcomes import Failed, NotAnalysed, Planned, Skipped
from node.records import Scan
from node.states import Priority, Reason, State
from node.worklist import Opinion, Signature
from node.worklist.sending import telling
from node.worklist.studies.studies import one_study
from tests.support.listeners import ack, mllp_peer, status, web_peer
from tests.support.peers import free_port, mute_peer
from tests.support.postgresql import cluster
from tests.support.reported import tilted_volume
from tests.support.speaking import (
    NEGATIVE,
    SUSPECTED,
    VARIABLE,
    Speaking,
    hl7,
    speaking,
    webhook,
)
from training.datasets.series import Identity, write_series

ALL = ("SUSPECTED", "NOT_ANALYSED", "NOT_SUSPECTED")
REFUSED = NotAnalysed(Reason.GEOMETRY, "positions are missing")


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(VARIABLE, "key")


def told(*outcomes, tmp_path, **wants) -> tuple[list[str], list[str]]:
    """Let late slices of one series be read with these outcomes; what is news, what is owed."""
    with speaking(tmp_path, hl7(free_port(), **wants)) as node:
        for outcome in outcomes:
            node.read(outcome)
        return node.news(), [line[1] for line in node.deliveries()]


def test_a_message_is_owed_with_the_flag_before_any_report(tmp_path):
    with speaking(tmp_path, hl7(free_port())) as node:
        case = node.read(SUSPECTED)
        assert node.row().state is State.TRIAGED
        assert node.deliveries() == [("ris", "OWED", 0)]
        path = node.settings.data_dir / f"cases/{case}/messages/1.json"
        said = News.from_bytes(path.read_bytes())
    identity = Identity.of("a")
    assert (said.patient_id, said.study_instance_uid) == (
        identity.patient_id,
        identity.study_instance_uid,
    )
    assert (said.priority, said.volume_ml, said.before) == (Priority.SUSPECTED, 77.4, None)


def test_priorities_that_a_destination_does_not_want_are_not_owed_to_it(tmp_path):
    news, owed = told(NEGATIVE, REFUSED, tmp_path=tmp_path)
    assert (news, owed) == (["flag", "raise"], [])


def test_a_late_slice_can_raise_replace_and_retract(tmp_path):
    late = (NEGATIVE, SUSPECTED, SUSPECTED, NEGATIVE, NEGATIVE, REFUSED, NEGATIVE)
    news, _ = told(*late, tmp_path=tmp_path)
    assert news == ["flag", "raise", "supersede", "retract", "supersede", "raise", "supersede"]


def test_a_destination_hears_that_what_it_was_told_stands_no_more(tmp_path):
    """It asks for studies not analysed, and one of them is analysed after all."""
    with mllp_peer(ack("AA")) as ris:
        to = hl7(ris.port, priorities=["NOT_ANALYSED"])
        with speaking(tmp_path, to) as node:
            node.read(REFUSED)
            node.drain()
            node.read(NEGATIVE)
            assert node.drain() == 1
    assert len(ris.messages) == 2


def test_nothing_is_said_while_a_series_of_the_study_is_undecided(tmp_path):
    with speaking(tmp_path, hl7(free_port(), priorities=ALL)) as node:
        node.receive("a")
        node.move(State.RECEIVING, Planned())
        assert node.news() == [] == node.deliveries()


def test_a_study_without_a_head_is_not_announced(tmp_path):
    with speaking(tmp_path, hl7(free_port(), priorities=ALL)) as node:
        node.receive("a")
        node.move(State.RECEIVING, Skipped(Reason.NOT_A_HEAD, "a chest"))
        assert node.news() == [] == node.deliveries()


def test_a_failure_is_announced_as_not_analysed(tmp_path):
    with speaking(tmp_path, hl7(free_port(), priorities=["NOT_ANALYSED"])) as node:
        node.receive("a")
        node.move(State.RECEIVING, Failed(Reason.INTERNAL, "out of memory"))
        assert node.news() == ["flag"]
        assert node.deliveries() == [("ris", "OWED", 0)]


@pytest.mark.parametrize("priors", [False, True])
def test_prior_studies_are_announced_only_where_they_are_asked_for(tmp_path, priors):
    with speaking(tmp_path, hl7(free_port(), priors=priors)) as node:
        node.read(SUSPECTED, prior=True)
        assert bool(node.deliveries()) is priors


def test_a_replay_with_the_same_result_says_nothing_new_and_loses_nothing(tmp_path):
    with mllp_peer(ack("AA")) as ris, speaking(tmp_path, hl7(ris.port)) as node:
        case = node.read(SUSPECTED)
        node.worklist.cases.replay(case, State.ASSEMBLED, node.now)
        assert node.deliveries() == [("ris", "OWED", 0)], "it was not sent yet, and still stands"
        node.move(State.ASSEMBLED, SUSPECTED)
        assert node.news() == ["flag"]
        assert node.drain() == 1
        node.worklist.cases.replay(case, State.ASSEMBLED, node.now)
        node.move(State.ASSEMBLED, NEGATIVE)
        assert node.news() == ["flag", "retract"]
        assert node.drain() == 1
    assert len(ris.messages) == 2


def test_negative_message_that_waits_is_withdrawn_when_late_slices_come(tmp_path):
    """What was not seen may not be cleared."""
    with speaking(tmp_path, hl7(free_port(), priorities=ALL)) as node:
        node.read(NEGATIVE)
        node.receive("a")
        assert node.deliveries() == [("ris", "CANCELLED", 0)]
        node.move(State.RECEIVING, Planned())
        node.move(State.ASSEMBLED, NEGATIVE)
        assert node.news() == ["flag", "supersede"]
        assert node.deliveries()[1:] == [("ris", "OWED", 0)]


def test_suspicion_that_nobody_heard_of_is_not_taken_back(tmp_path):
    with speaking(tmp_path, hl7(free_port())) as node:
        node.read(SUSPECTED)
        node.read(NEGATIVE)
        assert node.deliveries() == [("ris", "CANCELLED", 0)]


def test_suspicion_that_may_have_arrived_is_taken_back(tmp_path):
    with mute_peer() as mute, speaking(tmp_path, hl7(mute.port), timeout_s=0.5) as node:
        node.read(SUSPECTED)
        node.drain()  # the peer does not say what it got
        node.read(NEGATIVE)
        assert node.deliveries() == [("ris", "CANCELLED", 1), ("ris", "OWED", 0)]


def test_suspicion_that_never_left_is_not_taken_back(tmp_path):
    with speaking(tmp_path, hl7(free_port())) as node:
        node.read(SUSPECTED)
        node.drain()  # there is no connection: nobody got anything
        node.read(NEGATIVE)
        assert node.deliveries() == [("ris", "CANCELLED", 0)]


def test_retraction_does_not_overtake_the_flag_that_is_on_its_way(tmp_path):
    with mllp_peer(ack("AA")) as ris, speaking(tmp_path, hl7(ris.port)) as node:
        node.read(SUSPECTED)
        (on_its_way,) = node.worklist.outbox.claim("slow", 600, node.now)
        node.read(NEGATIVE)
        assert node.drain() == 0, "the flag is still on its way"
        node.worklist.outbox.delivered(on_its_way, "slow", 0, node.now)
        assert node.drain() == 1
        assert node.deliveries() == [("ris", "SENT", 1), ("ris", "SENT", 1)]
    assert b"TAKEN BACK" in ris.messages[0]


def test_retraction_of_a_flag_whose_sender_died_follows_when_its_lease_has_run_out(tmp_path):
    with mllp_peer(ack("AA")) as ris, speaking(tmp_path, hl7(ris.port)) as node:
        node.read(SUSPECTED)
        node.worklist.outbox.claim("dead", 600, node.now)
        node.read(NEGATIVE)
        node.wait(seconds=600)
        assert node.drain() == 1
        assert node.deliveries() == [("ris", "CANCELLED", 0), ("ris", "SENT", 1)]


def test_other_studies_do_not_wait_for_one_that_is_refused(tmp_path):
    with mllp_peer(ack("AE"), ack("AA")) as ris, speaking(tmp_path, hl7(ris.port)) as node:
        node.read(SUSPECTED, "a")
        node.read(SUSPECTED, "b")
        assert node.drain() == 1
        assert node.deliveries("b") == [("ris", "SENT", 1)]


def test_second_scan_with_the_same_result_is_no_news(tmp_path):
    with speaking(tmp_path, hl7(free_port())) as node:
        node.read(SUSPECTED, "a", scan="1")
        other = Identity.of("a")
        second_scan(node, other)
        assert node.news() == ["flag"]


def test_suspicion_in_one_scan_stands_when_another_is_negative(tmp_path):
    with speaking(tmp_path, hl7(free_port())) as node:
        node.read(SUSPECTED, "a", scan="1")
        second_scan(node, Identity.of("a"), NEGATIVE)
        assert node.news() == ["flag"]


def second_scan(node: Speaking, of: Identity, outcome=SUSPECTED) -> None:
    """Let a series of another scan of the same study be read."""
    plan_second_scan(node, of)
    node.move(State.ASSEMBLED, outcome)


def plan_second_scan(node: Speaking, of: Identity) -> None:
    identity = replace(of, series_instance_uid=Identity.of("second").series_instance_uid)
    folder = node.settings.data_dir / "in" / "second"
    (first, *_) = write_series(tilted_volume(), folder, identity)
    spool = Spool(node.settings.data_dir, 0)
    ingest(first, node.worklist.arrivals, spool, caller="", now=node.now)
    node.wait(minutes=2)
    node.move(State.RECEIVING, Planned(scan=Scan("2")))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def database_url(request):
    if request.param == "sqlite":
        yield ""
    else:
        with cluster() as url:
            yield url


def test_two_workers_on_one_study_announce_it_once(tmp_path, database_url, monkeypatch):
    """The last scan decides that nothing is suspected; each worker may be the last."""
    both_have_looked = threading.Barrier(2)

    def look(db, study_uid):
        row = one_study(db, study_uid)
        with suppress(threading.BrokenBarrierError):
            both_have_looked.wait(1)  # one that looks alone, as it should, goes on after a second
        return row

    monkeypatch.setattr(telling, "one_study", look)
    to = hl7(free_port(), priorities=ALL)
    with speaking(tmp_path, to, database_url=database_url) as node:
        with monkeypatch.context() as quiet:
            quiet.setattr(telling, "one_study", one_study)
            node.receive("a")
            node.move(State.RECEIVING, Planned(scan=Scan("1")))
            plan_second_scan(node, Identity.of("a"))
        tell = teller(node.settings)
        cases = node.worklist.cases
        claimed = [cases.claim({State.ASSEMBLED}, name, 600, node.now) for name in "xy"]

        def finish(number: int) -> None:
            cases.finish(claimed[number], "xy"[number], NEGATIVE, node.now, tell)

        with ThreadPoolExecutor(2) as threads:
            list(threads.map(finish, range(2)))
        assert node.news() == ["flag"]
        assert node.deliveries() == [("ris", "OWED", 0)]


def test_order_withdrawal_and_escalation_hold_in_each_database(tmp_path, database_url):
    chain = ({"after_minutes": 5, "to": ["ris"]},)
    with (
        mllp_peer(ack("AA")) as ris,
        speaking(tmp_path, hl7(ris.port), database_url=database_url, escalations=chain) as node,
    ):
        node.read(SUSPECTED)
        node.wait(minutes=5)
        assert escalating(node) == 1
        (on_its_way,) = node.worklist.outbox.claim("slow", 600, node.now)
        assert node.drain() == 0, "the escalation waits for the flag"
        node.worklist.outbox.delivered(on_its_way, "slow", 0, node.now)
        assert node.drain() == 1
        node.read(NEGATIVE)
        assert node.drain() == 1
        assert [line[1] for line in node.deliveries()] == ["SENT"] * 3


def test_each_destination_gets_what_it_asks_for(tmp_path):
    with mllp_peer(ack("AA")) as ris, web_peer(status(204)) as hook:
        quiet = webhook(hook.port, events=["raise"])
        with speaking(tmp_path, hl7(ris.port), quiet) as node:
            node.read(SUSPECTED, "a")
            node.read(NEGATIVE, "b")
            node.read(SUSPECTED, "b")
            node.drain()
    assert (len(ris.messages), len(hook.messages)) == (2, 1)


def test_case_is_delivered_when_its_messages_too_have_arrived(tmp_path):
    with mllp_peer(ack("AE"), ack("AA")) as ris, speaking(tmp_path, hl7(ris.port)) as node:
        node.read(SUSPECTED)
        node.report()
        node.drain()
        assert node.row().state is State.REPORTED
        node.wait(seconds=10)
        node.drain()
        assert node.row().state is State.DELIVERED
        assert node.row().door_to_pacs_s is None, "no archive has stored an object"


def test_message_about_images_that_got_another_identity_is_never_sent(tmp_path, caplog):
    with mllp_peer(ack("AA")) as ris, speaking(tmp_path, hl7(ris.port)) as node:
        node.read(SUSPECTED)
        image = next((node.settings.data_dir / "in").rglob("*.dcm"))
        ds = dcmread(image)
        ds.PatientID = "CORRECTED"
        ds.save_as(image)
        spool = Spool(node.settings.data_dir, 0)
        ingest(image, node.worklist.arrivals, spool, caller="", now=node.now)
        (entry,) = node.worklist.quarantine.listed()
        signed = Signature("admin", node.now)
        node.worklist.quarantine.release({entry.number: read_header(image)}, signed)
        node.drain()
        assert node.deliveries() == [("ris", "DEAD", 0)]
    assert ris.messages == []
    assert "PatientID" in caplog.text and "CORRECTED" not in caplog.text


@pytest.mark.parametrize("fault", ["gone", "changed"])
def test_message_whose_file_is_not_what_was_owed_is_never_sent(tmp_path, fault):
    with mllp_peer(ack("AA")) as ris, speaking(tmp_path, hl7(ris.port)) as node:
        case = node.read(SUSPECTED)
        path = node.settings.data_dir / f"cases/{case}/messages/1.json"
        data = path.read_bytes()
        path.unlink()
        if fault == "changed":
            path.write_bytes(data.replace(b"77.4", b"7.4"))
        node.drain()
        assert node.deliveries() == [("ris", "DEAD", 1)]
    assert ris.messages == []


def test_destination_that_is_set_no_more_waits(tmp_path):
    with speaking(tmp_path, hl7(1)) as node:
        node.read(SUSPECTED)
        none = node.settings.deliver.model_copy(update={"destinations": ()})
        node.settings = node.settings.model_copy(update={"deliver": none})
        assert node.drain() == 0
        assert node.deliveries() == [("ris", "OWED", 1)]


def test_message_that_cannot_be_written_moves_nothing(tmp_path):
    """A flag must not be committed without its message."""
    with speaking(tmp_path, hl7(1)) as node:
        node.receive("a")
        node.move(State.RECEIVING, Planned())
        (node.settings.data_dir / "cases").write_text("no folder")
        with pytest.raises((Retryable, OSError)):
            node.move(State.ASSEMBLED, SUSPECTED)
        assert node.row().state is State.ASSEMBLED
        assert node.news() == [] == node.deliveries()


# --- escalation ---


def escalating(node: Speaking) -> int:
    return node.worklist.outbox.escalate(escalation_steps(node.settings), node.now)


CHAIN = (
    {"after_minutes": 10, "to": ["hook"]},
    {"after_minutes": 30, "to": ["hook", "ris"]},
)


def test_study_that_nobody_acknowledges_goes_up_the_chain_once_a_step(tmp_path):
    with web_peer(status(200)) as hook, mllp_peer(ack("AA")) as ris:
        second = webhook(hook.port, events=["retract"])
        with speaking(tmp_path, hl7(ris.port), second, escalations=CHAIN) as node:
            node.read(SUSPECTED)
            node.drain()
            assert (len(ris.messages), hook.messages) == (1, [])
            assert escalating(node) == 0
            node.wait(minutes=10)
            assert [escalating(node), escalating(node)] == [1, 0]
            node.wait(minutes=20)
            assert [escalating(node), escalating(node)] == [2, 0]
            node.drain()
            node.wait(hours=20)
            assert escalating(node) == 0
            node.read(NEGATIVE)
            node.drain()
    told = [json.loads(request.body) for request in hook.messages]
    assert [(each["event"], each["after_minutes"]) for each in told] == [
        *(("escalation", 10), ("escalation", 30)),
        ("retract", None),  # who was told is told that it is taken back
    ]
    assert len({request.headers["Idempotency-Key"] for request in hook.messages}) == 3
    assert b"Nobody has acknowledged this study for 30 minutes" in ris.messages[1]
    assert len(ris.messages) == 3


def test_acknowledged_study_is_not_escalated_and_its_chain_stops(tmp_path):
    with speaking(tmp_path, webhook(1, events=[]), hl7(1), escalations=CHAIN) as node:
        node.read(SUSPECTED)
        node.wait(minutes=10)
        assert escalating(node) == 1
        uid = Identity.of("a").study_instance_uid
        node.worklist.feedback.give(uid, "radiologist", Opinion(agrees=True), node.now)
        node.wait(minutes=30)
        assert escalating(node) == 0


def test_only_current_suspected_studies_are_escalated(tmp_path):
    with speaking(tmp_path, webhook(1), hl7(1), escalations=CHAIN) as node:
        node.read(SUSPECTED, "prior", prior=True)
        node.read(NEGATIVE, "negative")
        node.read(SUSPECTED, "retracted")
        node.read(NEGATIVE, "retracted")
        node.wait(hours=1)
        assert escalating(node) == 0


def test_node_that_was_down_for_days_does_not_escalate_what_was_read_long_ago(tmp_path):
    with speaking(tmp_path, webhook(1), hl7(1), escalations=CHAIN) as node:
        node.read(SUSPECTED)
        node.wait(hours=24)
        assert escalating(node) == 0


def test_late_slices_do_not_start_the_chain_again(tmp_path):
    with speaking(tmp_path, webhook(1), hl7(1), escalations=CHAIN) as node:
        node.read(SUSPECTED)
        node.wait(minutes=10)
        assert escalating(node) == 1
        node.read(SUSPECTED)
        assert node.news() == ["flag", "supersede"]
        assert escalating(node) == 0
        node.wait(minutes=20)
        assert escalating(node) == 2


def test_suspicion_that_is_taken_back_withdraws_what_waits(tmp_path):
    with speaking(tmp_path, webhook(1, events=[]), hl7(1), escalations=CHAIN) as node:
        node.read(SUSPECTED)
        node.wait(minutes=10)
        escalating(node)
        node.read(NEGATIVE)
        assert {line[1] for line in node.deliveries()} == {"CANCELLED"}
        node.wait(minutes=60)
        assert escalating(node) == 0
