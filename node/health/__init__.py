"""What tells others how the node is: a process's pulse, and answers to a monitoring system.

The door: `pulse` around a role, `answering` for metrics, `/healthz` and `/readyz`, `conditions`
for what must hold.
"""

from node.health.answers import answering
from node.health.heartbeat import Pulse, StopEvent, notify, pulse
from node.health.readiness import conditions

__all__ = ["Pulse", "StopEvent", "answering", "conditions", "notify", "pulse"]
