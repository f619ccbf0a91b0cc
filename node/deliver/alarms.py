"""Alarms about the node itself, by mail or webhook. They concern no patient, and name none."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from hashlib import sha256

from node.deliver.answer import Answer, Verdict
from node.deliver.channels import mail, webhook
from node.errors import Retryable
from node.settings import Destination, Settings
from node.wording import RESEARCH_USE_ONLY
from node.worklist import Alarm, Alarms

REMEDY = "What to do: docs/operations.md, Alarms; `ichnode doctor` looks at everything."


class NotTold(Retryable):
    """A destination was not told of an alarm."""


def tell_all(settings: Settings, alarms: Alarms, now: datetime) -> None:
    """Tell whom `alarms.to` names of each alarm once, and of its end.

    Raises
    ------
    NotTold
        If a destination was not told; the next call tries again.
    """
    failed = []
    for alarm in alarms.last():
        for name, answer in _answers(alarm, settings, now):
            if answer.verdict is Verdict.STORED:
                alarms.told(alarm, name, of_end=alarm.ended_at is not None)
            else:
                failed.append(f"{name}: {answer.message}")
    if failed:
        raise NotTold(f"an alarm was not told to {'; '.join(failed)}")


class Unnoted:
    """An alarm that the worklist cannot take, since it is what fails: it is held in memory.

    Who was told of it is forgotten with the process.
    """

    def __init__(self, what: str) -> None:
        self._alarm = Alarm(0, what, "", datetime.min.replace(tzinfo=UTC), None, {})

    def note(self, trouble: str, settings: Settings, now: datetime) -> None:
        """Tell of what is wrong once it has lasted for `alarms.after_s`; "": of its end."""
        if trouble and not self._alarm.said:
            self._alarm = replace(self._alarm, raised_at=now, ended_at=None, told={})
        if trouble:
            self._alarm = replace(self._alarm, said=trouble)
        elif self._alarm.said:
            self._alarm = replace(self._alarm, ended_at=now)
        if self._alarm.said and now - self._alarm.raised_at >= settings.alarms.after:
            self._tell(settings, now)
        if self._alarm.ended_at is not None:
            self._alarm = replace(self._alarm, said="")

    def _tell(self, settings: Settings, now: datetime) -> None:
        of_end = self._alarm.ended_at is not None
        told = {
            name: of_end
            for name, answer in _answers(self._alarm, settings, now)
            if answer.verdict is Verdict.STORED
        }
        self._alarm = replace(self._alarm, told={**self._alarm.told, **told})


def _answers(alarm: Alarm, settings: Settings, now: datetime) -> Iterator[tuple[str, Answer]]:
    """Tell each destination that has not heard of an alarm, or of the end of one it heard of."""
    for destination in settings.deliver.messaged:
        name = destination.name
        if name in settings.alarms.to and _is_news(alarm, name):
            yield name, tell(alarm, destination, settings, now)


def _is_news(alarm: Alarm, name: str) -> bool:
    if alarm.ended_at is None:
        return name not in alarm.told
    return alarm.told.get(name) is False


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
"""By the `how` of a destination; the settings let `alarms.to` name no other."""
