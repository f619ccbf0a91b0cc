"""What goes out: the outbox is emptied, one channel for each way to send."""

from node.deliver.alarms import NotTold, Unnoted, tell_all
from node.deliver.answer import Verdict
from node.deliver.channels import probe
from node.deliver.loop import deliver

__all__ = ["NotTold", "Unnoted", "Verdict", "deliver", "probe", "tell_all"]
