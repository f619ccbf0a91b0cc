"""Alarms about the node: what a webhook gets, and that a repeat is known as one."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from node.deliver import Unnoted, Verdict
from node.deliver.alarms import tell
from node.deliver.channels.webhook import signature
from node.settings import Deliver, Destination, Settings, Webhook
from node.worklist import Alarm
from tests.support.listeners import status, web_peer

AT = datetime(2026, 11, 29, 18, 0, tzinfo=UTC)
ALARM = Alarm(7, "canary", "no result of the phantom within 300 s", AT, None, {})


def test_a_webhook_gets_the_alarm_and_its_end_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "key")
    with web_peer(status(500), status(204)) as peer:
        hook = Webhook(url=f"http://127.0.0.1:{peer.port}/alarms", secret_variable="HOOK")
        to = Destination(name="hook", how="webhook", webhook=hook)
        assert tell(ALARM, to, Settings(), AT).verdict is Verdict.AGAIN
        assert tell(ALARM, to, Settings(), AT).verdict is Verdict.STORED
        ended = replace(ALARM, ended_at=AT)
        assert tell(ended, to, Settings(), AT).verdict is Verdict.STORED
    first, again, end = peer.messages
    said = json.loads(again.body)
    assert (said["schema"], said["event"], said["what"]) == ("ichnode-alarm/1", "alarm", "canary")
    assert said["said"] == ALARM.said and said["raised_at"] == AT.isoformat()
    assert json.loads(end.body)["event"] == "alarm_ended"
    assert first.headers["Idempotency-Key"] == again.headers["Idempotency-Key"]
    assert again.headers["Idempotency-Key"] != end.headers["Idempotency-Key"]
    signed = signature("key", again.headers["X-Ichnode-Timestamp"], again.body)
    assert again.headers["X-Ichnode-Signature"] == f"sha256={signed}"


def test_an_alarm_that_the_worklist_cannot_take_is_told_once_and_so_is_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOOK", "key")
    with web_peer(*[status(204)] * 9) as peer:
        hook = Webhook(url=f"http://127.0.0.1:{peer.port}/alarms", secret_variable="HOOK")
        to = Destination(name="hook", how="webhook", webhook=hook)
        told = {"alarms": {"to": ["hook"], "after_s": 60}}
        settings = Settings(deliver=Deliver(destinations=(to,)), **told)  # type: ignore[arg-type]
        away = Unnoted("worklist")
        for trouble, seconds in (
            *(("", 0), ("locked", 1), ("", 30)),  # too short
            *(("away", 100), ("away", 159), ("away", 160), ("still away", 300), ("", 400)),
            *(("", 500), ("away", 600), ("away", 660)),
        ):
            away.note(trouble, settings, AT + timedelta(seconds=seconds))
    heard = [json.loads(one.body) for one in peer.messages]
    assert [(one["event"], one["said"]) for one in heard] == [
        ("alarm", "away"),
        ("alarm_ended", "still away"),
        ("alarm", "away"),
    ]
    assert len({one["message_id"] for one in heard}) == 3
