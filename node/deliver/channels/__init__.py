"""The ways to send a parcel: one module a channel, and the table of them all."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from node.deliver.answer import Answer
from node.deliver.channels import dicom
from node.records import Delivery
from node.settings import Settings
from node.worklist import Outbox

Send = Callable[[Sequence[Delivery], Settings, Outbox], Iterator[tuple[Delivery, Answer]]]
"""Sends parcels of one destination, those of high priority first, and yields how each ended."""

CHANNELS: Mapping[str, Send] = {"dicom": dicom.send}
"""By the `channel` of a parcel."""
