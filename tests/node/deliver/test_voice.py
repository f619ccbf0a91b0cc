"""The whole way of a message: images, worker, deliver role, peer; and roles that are killed."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from node.cases.worker import work_once
from node.clock import utc_now
from node.deliver import deliver
from node.settings import Deliver, Settings
from node.states import State
from node.worklist import Outbox
from tests.support.builder import HEAD, encoded
from tests.support.listeners import ack, mllp_peer, status, web_peer
from tests.support.peers import wait_until
from tests.support.speaking import SUSPECTED, VARIABLE, hl7, speaking, webhook
from tests.support.working import Clock, Predictor, receive, receive_files, work, working_node


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(VARIABLE, "key")


@contextmanager
def delivering(settings: Settings, outbox: Outbox, clock=utc_now) -> Iterator[None]:
    """Run the deliver role while the block runs."""
    stop = threading.Event()
    thread = threading.Thread(target=deliver, args=(settings, outbox, clock, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def test_message_leaves_when_the_flag_stands_and_before_the_report_is_made(tmp_path):
    clock = Clock()
    with mllp_peer(ack("AA")) as ris, web_peer(status(200)) as hook:
        to = Deliver(destinations=(hl7(ris.port), webhook(hook.port)), timeout_s=60.0)
        settings = Settings(data_dir=tmp_path / "node", deliver=to)
        with working_node(settings, clock, Predictor()) as node:
            receive(node)
            with delivering(settings, node.outbox, clock):
                read_but_not_report(node, clock)
                wait_until(lambda: ris.messages and hook.messages)
                (row,) = node.views.worklist(clock.now)
                assert row.state is State.TRIAGED
                work(node, clock)
                wait_until(lambda: node.views.counts()[State.DELIVERED] == 1)
    assert (len(ris.messages), len(hook.messages)) == (1, 1)
    body = json.loads(hook.messages[0].body)
    assert body["priority"] == "SUSPECTED" and body["bundle"] == "fake@1"
    assert body["volume_ml"] > 0 and body["key_slice_sop_instance_uid"]


def read_but_not_report(node, clock: Clock) -> None:
    """Let the worker run each stage up to the flag."""
    for _ in range(100):
        clock.wait(1)
        if work_once(node, "worker"):
            (row,) = node.views.worklist(clock.now)
            if row.state is State.TRIAGED:
                return
    pytest.fail("the head was not read")


def test_late_slices_that_the_worker_reads_replace_what_was_said(tmp_path):
    clock = Clock()
    to = Deliver(destinations=(hl7(1),))
    settings = Settings(data_dir=tmp_path / "node", deliver=to)
    with working_node(settings, clock, Predictor()) as node:
        files = [encoded(ds) for ds in HEAD.build()]
        receive_files(files[:-2], node)
        work(node, clock)
        receive_files(files[-2:], node)
        work(node, clock)
        (row,) = node.views.worklist(clock.now)
        events = node.views.events(row.study_instance_uid)
    news = [event.detail["news"] for event in events if event.what == "announced"]
    assert news == ["flag", "supersede"]


def test_node_without_destinations_of_messages_writes_none(tmp_path):
    clock = Clock()
    with working_node(Settings(data_dir=tmp_path / "node"), clock, Predictor()) as node:
        receive(node)
        work(node, clock)
        (row,) = node.views.worklist(clock.now)
        events = node.views.events(row.study_instance_uid)
        assert "announced" not in {event.what for event in events}
        assert not list(node.root.rglob("messages"))


DELIVER = """
import sys, threading
from node.clock import utc_now
from node.deliver import deliver
from node.settings import Settings
from node.worklist import Worklist

settings = Settings.model_validate_json(sys.argv[1])
deliver(settings, Worklist(settings.url).outbox, utc_now, threading.Event())
"""

STUDIES = 25


def ids_of_hl7(messages: list) -> list[bytes]:
    return [message.split(b"|")[9] for message in messages]


def ids_of_webhook(messages: list) -> list[str]:
    for request in messages:
        assert json.loads(request.body)["message_id"] == request.headers["Idempotency-Key"]
    return [request.headers["Idempotency-Key"] for request in messages]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("listening", "to", "ids"),
    [
        (lambda: mllp_peer(ack("AA")), hl7, ids_of_hl7),
        (lambda: web_peer(status(200)), webhook, ids_of_webhook),
    ],
    ids=["hl7", "webhook"],
)
def test_killed_deliver_role_loses_no_message_and_makes_none_of_one_two(
    tmp_path, listening, to, ids
):
    with listening() as heard, speaking(tmp_path, to(heard.port), timeout_s=1.0) as node:
        node.now = datetime.now(UTC) - timedelta(hours=20)
        for number in range(STUDIES):
            node.read(SUSPECTED, f"study {number}")
            node.report()
        command = [sys.executable, "-c", DELIVER, node.settings.model_dump_json()]
        with subprocess.Popen(command) as process:
            wait_until(lambda: len(heard.messages) > 2, within_s=60)
            process.kill()
        assert len(set(ids(heard.messages))) < STUDIES
        with subprocess.Popen(command) as process:
            counts = node.worklist.views.counts
            wait_until(lambda: counts()[State.DELIVERED] == STUDIES, within_s=60)
            process.kill()
    assert len(set(ids(heard.messages))) == STUDIES, "none is lost"
    assert len(heard.messages) <= STUDIES + 2, "only what was on its way is sent again"


@pytest.mark.slow
def test_escalation_survives_the_death_of_the_deliver_role(tmp_path):
    chain = ({"after_minutes": 1, "to": ["hook"]},)
    with web_peer(status(200)) as hook:
        quiet = webhook(hook.port, events=[])
        with speaking(tmp_path, quiet, escalations=chain, timeout_s=1.0) as node:
            node.now = datetime.now(UTC) - timedelta(hours=2)
            node.read(SUSPECTED)
            command = [sys.executable, "-c", DELIVER, node.settings.model_dump_json()]
            for _ in range(2):
                with subprocess.Popen(command) as process:
                    wait_until(lambda: node.deliveries() == [("hook", "SENT", 1)], within_s=60)
                    process.kill()
    assert [json.loads(request.body)["event"] for request in hook.messages] == ["escalation"]
