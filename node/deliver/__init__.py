"""What goes out: the outbox is emptied, one channel for each way to send."""

from node.deliver.channels import probe
from node.deliver.loop import deliver

__all__ = ["deliver", "probe"]
