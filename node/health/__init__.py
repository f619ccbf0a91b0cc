"""What tells others how the node is: a process's pulse, and answers to a monitoring system.

The door: `pulse` around a role, and `answering` for metrics, `/healthz` and `/readyz`.
"""

from node.health.answers import answering
from node.health.heartbeat import Pulse, StopEvent, notify, pulse

__all__ = ["Pulse", "StopEvent", "answering", "notify", "pulse"]
