"""The canary: a phantom that the node sends to itself, so that its silence is heard.

The door: `send` lets one fly, `watch` judges what came back.
"""

from node.canary.flight import send, watch

__all__ = ["send", "watch"]
