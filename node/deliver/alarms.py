"""Alarms about the node itself, by mail or webhook. They concern no patient, and name none."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from hashlib import sha256

from node.deliver.answer import Answer
from node.deliver.channels import mail, webhook
from node.settings import Destination, Settings
from node.wording import RESEARCH_USE_ONLY
from node.worklist import Alarm

REMEDY = "What to do: docs/operations.md, Alarms; `ichnode doctor` looks at everything."


def tell(alarm: Alarm, destination: Destination, settings: Settings, now: datetime) -> Answer:
    """Tell a destination of an alarm, or of its end; return how that ended."""
    return _WAYS[destination.how](alarm, destination, settings, now)


def compose(alarm: Alarm, destination: Destination, now: datetime) -> EmailMessage:
    """Return the e-mail; the same alarm has the same Message-ID."""
    message = EmailMessage(policy=SMTP)
    over = alarm.ended_at is not None
    message["Subject"] = f"ichnode: {alarm.what} {'is well again' if over else 'ALARM'}"
    message["From"] = destination.mail.sender
    message["To"] = destination.mail.recipient
    message["Date"] = now
    message["Message-ID"] = f"<{_key(alarm)}@ichnode.invalid>"
    message["Auto-Submitted"] = "auto-generated"
    lines = [alarm.said, "", f"Since: {alarm.raised_at.isoformat()}"]
    lines += [f"Until: {alarm.ended_at.isoformat()}"] if alarm.ended_at else [REMEDY]
    message.set_content("\n".join([*lines, "", RESEARCH_USE_ONLY]) + "\n")
    return message


def body(alarm: Alarm) -> bytes:
    """Return the JSON of a webhook; docs/json.md describes it."""
    values = {
        "schema": "ichnode-alarm/1",
        "message_id": _key(alarm),
        "notice": RESEARCH_USE_ONLY,
        "event": "alarm" if alarm.ended_at is None else "alarm_ended",
        "what": alarm.what,
        "said": alarm.said,
        "raised_at": alarm.raised_at.isoformat(),
        "ended_at": alarm.ended_at and alarm.ended_at.isoformat(),
    }
    return json.dumps(values, indent=1).encode()


def _key(alarm: Alarm) -> str:
    """Return what is the same whenever an alarm, or its end, is told again."""
    told = f"{alarm.id} {alarm.what} {alarm.raised_at.isoformat()} {alarm.ended_at is None}"
    return sha256(told.encode()).hexdigest()


def _by_mail(alarm: Alarm, to: Destination, settings: Settings, now: datetime) -> Answer:
    return mail.hand_over(compose(alarm, to, now), to, settings)


def _by_webhook(alarm: Alarm, to: Destination, settings: Settings, _: datetime) -> Answer:
    return webhook.post_signed(body(alarm), _key(alarm), to, settings)


_WAYS: Mapping[str, Callable[[Alarm, Destination, Settings, datetime], Answer]] = {
    "mail": _by_mail,
    "webhook": _by_webhook,
}
"""By the `how` of a destination; the settings let `canary.alarm` name no other."""
