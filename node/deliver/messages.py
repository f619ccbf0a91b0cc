"""What every channel of messages does: it reads what is owed, checks whose it is, and words it."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from node.deliver.answer import Answer, Verdict
from node.depot import depot_of
from node.errors import BadConfiguration
from node.news import News, What, read_news
from node.records import Delivery, Withdrawal
from node.settings import Destination, Settings
from node.states import Priority
from node.wording import (
    NOT_ANALYSED,
    NOT_SUSPECTED,
    READ_IN_PART,
    RESEARCH_USE_ONLY,
    SUSPECTED,
    UNCERTAIN,
    WITHDRAWN,
)
from node.worklist import Outbox


@dataclass(frozen=True, slots=True)
class Message:
    """One news on its way to one destination."""

    said: News
    key: str
    """The same whenever the message is sent again, and no other message's."""
    after_minutes: int | None = None
    """Of an escalation: for how long nobody has acknowledged the study."""

    @property
    def event(self) -> str:
        """What happened, in a word of the interface."""
        return self.said.what if self.after_minutes is None else "escalation"


Post = Callable[[Destination, Message, Settings], Answer]
"""Sends one message to a destination and says how that ended."""


def send_each(
    batch: Sequence[Delivery], settings: Settings, outbox: Outbox, how: str, post: Post
) -> Iterator[tuple[Delivery, Answer]]:
    """Send deliveries of one destination one after another, and yield how each ended."""
    name = batch[0].destination
    found = [one for one in settings.deliver.messaged if (one.name, one.how) == (name, how)]
    for owed in batch:
        if not outbox.is_owed(owed):
            yield owed, Answer(Verdict.CANCELLED)
            continue
        if not found:
            missing = f"no destination {name!r} of {how} is set"
            yield owed, Answer(Verdict.AGAIN, message=missing)
            continue
        message = _message(owed, settings)
        if message is None:
            lost = "the message's file is missing or changed: replay the case from triage"
            yield owed, Answer(Verdict.FINAL, message=lost)
        elif other := message.said.identity.unlike(outbox.identities(owed.case_id)):
            yield owed, Answer(Verdict.STOPPED, message=_contradiction(other))
        else:
            yield owed, post(found[0], message, settings)


def _message(owed: Delivery, settings: Settings) -> Message | None:
    parcel = owed.parcel
    said = read_news(depot_of(settings).bring(parcel.path), parcel.address["sha256"])
    if said is None:
        return None
    minutes = parcel.address.get("escalation")
    return Message(said, parcel.dedup_key, None if minutes is None else int(minutes))


def _contradiction(other: Sequence[str]) -> str:
    return (
        f"not sent: its {' and '.join(other)} is not that of the images in the worklist; "
        "find out whose they are, then replay the case from assemble"
    )


def secret(variable: str) -> str:
    """Return what an environment variable holds.

    Raises
    ------
    BadConfiguration
        If it is not set or empty.
    """
    value = os.environ.get(variable, "")
    if not value:
        raise BadConfiguration(f"the environment variable {variable} is not set")
    return value


def sentences(message: Message) -> list[str]:
    """Return what the message says in words, the verdict first; nobody is named."""
    said = message.said
    if said.withdrawn is not None:
        return [WITHDRAWN, _withdrawn(said.withdrawn), RESEARCH_USE_ONLY]
    words = [] if message.after_minutes is None else [_unacknowledged(message.after_minutes)]
    words += {What.RETRACT: [TAKEN_BACK], What.SUPERSEDE: [REPLACED]}.get(said.what, [])
    words.append(_verdict(said))
    if said.uncertain:
        words.append(UNCERTAIN)
    if said.reason and said.priority is Priority.NOT_ANALYSED:
        words.append(f"Reason: {said.reason}")
    if said.priority is Priority.SUSPECTED:
        words += [f"Outlined volume: {said.volume_ml:.0f} mL"] if said.volume_ml else []
        words += [] if said.probability is None else [f"Probability: {said.probability:.2f}"]
    return [*words, RESEARCH_USE_ONLY]


TAKEN_BACK = "TAKEN BACK: a hemorrhage was suspected before, and a later result does not suspect it"
REPLACED = "This replaces the result that was announced before"


def _withdrawn(said: Mapping[str, str]) -> str:
    return str(Withdrawal(said["who"], said["why"], datetime.fromisoformat(said["at"])))


def _unacknowledged(minutes: int) -> str:
    return f"Nobody has acknowledged this study for {minutes} minutes"


def _verdict(said: News) -> str:
    match said.priority:
        case Priority.SUSPECTED:
            return SUSPECTED
        case Priority.NOT_SUSPECTED:
            return NOT_SUSPECTED
        case _:
            return NOT_ANALYSED if said.probability is None else READ_IN_PART
