"""The ways to send a parcel: one module a channel, and the table of them all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from node.deliver.answer import Answer
from node.deliver.channels import dicom, hl7, mail, webhook
from node.deliver.messages import send_each
from node.records import Delivery
from node.settings import Destination, Settings
from node.worklist import Outbox


@dataclass(frozen=True, slots=True)
class Channel:
    """A way to send.

    Attributes
    ----------
    send
        Sends parcels of one destination, those of high priority first, and yields how each ended.
    probe
        Returns how a destination answers, in words; raises IchnodeError where it does not.
    """

    send: Callable[[Sequence[Delivery], Settings, Outbox], Iterator[tuple[Delivery, Answer]]]
    probe: Callable[[Destination, Settings], str]


CHANNELS: Mapping[str, Channel] = {
    "dicom": Channel(dicom.send, dicom.probe),
    "hl7": Channel(partial(send_each, how="hl7", post=hl7.post), hl7.probe),
    "mail": Channel(partial(send_each, how="mail", post=mail.post), mail.probe),
    "webhook": Channel(partial(send_each, how="webhook", post=webhook.post), webhook.probe),
}
"""By the `channel` of a parcel, which is the `how` of its destination."""


def probe(destination: Destination, settings: Settings) -> str:
    """Return how a destination answers, in words; nothing is sent that counts as a result.

    Raises
    ------
    IchnodeError
        If it does not answer, or not as it should.
    """
    return CHANNELS[destination.how].probe(destination, settings)
