"""What is said, and to whom, when a person withdraws a result that was sent in error."""

import json
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path

import pytest

from node.cases.tell import teller
from node.news import News
from node.outcomes import NotAnalysed, Outcome, Planned
from node.states import Priority, Reason, State
from node.worklist import Actor, EscalationStep
from tests.support.listeners import ack, mllp_peer, smtp_peer, status, web_peer
from tests.support.peers import free_port
from tests.support.speaking import (
    NEGATIVE,
    SUSPECTED,
    VARIABLE,
    Speaking,
    hl7,
    mail,
    speaking,
    webhook,
)
from training.datasets.series import Identity

ALL = ("SUSPECTED", "NOT_ANALYSED", "NOT_SUSPECTED")
WHY = "read with the wrong bundle"
SAID = f"withdrawn by anna on 2026-11-20 at 08:02 UTC: {WHY}"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "key")


def withdraw(node: Speaking, seed: str = "a") -> None:
    uid, tell = Identity.of(seed).study_instance_uid, teller(node.settings)
    by = Actor("anna", "terminal")
    node.worklist.retractions.withdraw(uid, by, WHY, node.now, tell)


def fields(message: bytes, name: str) -> list[list[str]]:
    lines = message.decode().split("\r")
    return [line.split("|") for line in lines if line.startswith(f"{name}|")]


@pytest.mark.parametrize(("withdraw_with", "expected"), [(None, "W"), ("D", "D")])
def test_hl7_says_that_every_observation_was_wrong_and_why(
    tmp_path: Path, withdraw_with: str | None, expected: str
) -> None:
    site = {"hl7": {"withdraw_with": withdraw_with}} if withdraw_with else {}
    with mllp_peer(ack("AA")) as ris, speaking(tmp_path, hl7(ris.port, **site)) as node:
        node.read(SUSPECTED)
        node.drain()
        withdraw(node)
        assert node.drain() == 1
    flagged, withdrawn = ris.messages
    (request,) = fields(withdrawn, "OBR")
    assert request[25] == "C"
    before = {line[3]: line[4] for line in fields(flagged, "OBX")}
    after = {line[3]: line[4] for line in fields(withdrawn, "OBX")}
    assert before.items() <= after.items(), "each observation is named as it was"
    assert {line[11] for line in fields(withdrawn, "OBX")} == {expected}
    study = Identity.of("a").study_instance_uid
    assert {line[5] for line in fields(withdrawn, "OBX")} == {"", study}
    said = [line[3] for line in fields(withdrawn, "NTE")]
    assert said[0].startswith("WITHDRAWN") and said[1] == SAID.replace("&", "\\T\\")
    assert not any("TAKEN BACK" in line or "suspected" in line for line in said)


def test_a_webhook_hears_who_withdrew_it_and_why(tmp_path: Path) -> None:
    with web_peer(status(200)) as hook, speaking(tmp_path, webhook(hook.port)) as node:
        node.read(SUSPECTED)
        node.drain()
        withdraw(node)
        node.drain()
    flagged, withdrawn = (json.loads(message.body) for message in hook.messages)
    assert flagged["withdrawn"] is None and withdrawn["event"] == "retract"
    assert (withdrawn["priority"], withdrawn["priority_before"]) == ("NOT_ANALYSED", "SUSPECTED")
    assert withdrawn["withdrawn"] == {
        "who": "anna",
        "why": WHY,
        "at": "2026-11-20T08:02:00+00:00",
    }
    assert withdrawn["probability"] is None and withdrawn["reason"] == SAID


def test_a_mail_says_withdrawn_in_its_subject(tmp_path: Path) -> None:
    with smtp_peer() as server, speaking(tmp_path, mail(server.port)) as node:
        node.read(SUSPECTED)
        node.drain()
        withdraw(node)
        node.drain()
    (_, content) = server.messages[-1]
    message = message_from_bytes(content, policy=SMTP)
    assert message["Subject"] == "ichnode: result WITHDRAWN, read as usual (research only)"
    text = message.get_content()
    assert SAID in text and "not a negative result" in text and "TAKEN BACK" not in text


def test_who_was_told_of_a_negative_hears_that_it_is_withdrawn(tmp_path: Path) -> None:
    with mllp_peer(ack("AA")) as ris, speaking(tmp_path, hl7(ris.port, priorities=ALL)) as node:
        node.read(NEGATIVE)
        node.drain()
        withdraw(node)
        assert node.drain() == 1
        assert node.row().priority is Priority.NOT_ANALYSED
    assert b"WITHDRAWN" in ris.messages[1]


def test_a_withdrawal_is_said_also_where_no_retractions_are_asked_for(tmp_path: Path) -> None:
    with mllp_peer(ack("AA")) as ris, speaking(tmp_path, hl7(ris.port, events=["flag"])) as node:
        node.read(SUSPECTED)
        node.drain()
        withdraw(node)
        assert node.drain() == 1


def test_who_heard_nothing_hears_nothing(tmp_path: Path) -> None:
    with speaking(tmp_path, hl7(free_port())) as node:
        node.read(SUSPECTED)
        withdraw(node)
        assert node.deliveries() == [("ris", "CANCELLED", 0)]
        assert node.news() == ["flag", "retract"]


def test_a_withdrawal_does_not_overtake_the_flag_that_is_on_its_way(tmp_path: Path) -> None:
    with mllp_peer(ack("AA")) as ris, speaking(tmp_path, hl7(ris.port)) as node:
        node.read(SUSPECTED)
        (on_its_way,) = node.worklist.outbox.claim("slow", 600, node.now)
        withdraw(node)
        assert node.drain() == 0
        node.worklist.outbox.delivered(on_its_way, "slow", 0, node.now)
        assert node.drain() == 1
    assert b"WITHDRAWN" in ris.messages[0]


def test_a_withdrawal_is_said_though_late_slices_are_still_to_be_read(
    tmp_path: Path,
) -> None:
    with mllp_peer(ack("AA")) as ris, speaking(tmp_path, hl7(ris.port)) as node:
        node.read(SUSPECTED)
        node.drain()
        node.receive("a")  # a late slice: nothing is decided
        assert node.row().priority is Priority.SUSPECTED
        withdraw(node)
        assert node.drain() == 1
        assert node.row().priority is Priority.NOT_ANALYSED
    assert b"WITHDRAWN" in ris.messages[1]


def test_nobody_is_escalated_to_about_what_is_withdrawn(tmp_path: Path) -> None:
    steps = [EscalationStep(timedelta(minutes=10), "ris", "hl7")]
    with speaking(tmp_path, hl7(free_port())) as node:
        node.read(SUSPECTED)
        withdraw(node)
        node.wait(minutes=30)
        assert node.worklist.outbox.escalate(steps, node.now) == 0


@pytest.mark.parametrize(
    ("outcome", "news"),
    [
        (SUSPECTED, "raise"),
        (NEGATIVE, "supersede"),
        (NotAnalysed(Reason.GEOMETRY, "no"), "supersede"),
    ],
)
def test_the_result_that_replaces_a_withdrawal_is_announced(
    tmp_path: Path, outcome: Outcome, news: str
) -> None:
    with speaking(tmp_path, hl7(free_port())) as node:
        node.read(SUSPECTED)
        withdraw(node)
        node.receive("a")
        node.move(State.RECEIVING, Planned())
        assert node.news() == ["flag", "retract"]
        node.move(State.ASSEMBLED, outcome)
        assert node.news()[2:] == [news]


def test_news_is_read_as_it_was_written_with_and_without_a_withdrawal(tmp_path: Path) -> None:
    with speaking(tmp_path, hl7(free_port())) as node:
        case = node.read(SUSPECTED)
        data = (node.settings.data_dir / f"cases/{case}/messages/1.json").read_bytes()
    said = News.from_bytes(data)
    assert said.to_bytes() == data and b"withdrawn" not in data, "as before there were any"
    withdrawn = replace(said, withdrawn={"who": "anna", "why": WHY, "at": said.at})
    assert News.from_bytes(withdrawn.to_bytes()) == withdrawn
    whole = json.loads(data)
    less = {name: value for name, value in whole.items() if name != "number"}
    for other in ({**whole, "more": 1}, less):
        with pytest.raises(ValueError, match="no news"):
            News.from_bytes(json.dumps(other).encode())
