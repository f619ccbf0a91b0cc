"""What goes out: the outbox is emptied, one channel for each way to send."""

from node.deliver.alarms import tell
from node.deliver.answer import Verdict
from node.deliver.channels import probe
from node.deliver.loop import deliver

__all__ = ["Verdict", "deliver", "probe", "tell"]
