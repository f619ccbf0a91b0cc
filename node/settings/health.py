"""Settings of what a monitoring system asks the node."""

from typing import Literal

from pydantic import Field

from node.settings.section import Section


class Health(Section):
    """Metrics for Prometheus, `/healthz` and `/readyz`, served by the web role."""

    host: str = Field("127.0.0.1", description="address to listen on; what it tells is not secret")
    port: int = Field(9311, ge=0, le=65535, description="TCP port; 0: off")
    roles: tuple[Literal["receive", "work", "deliver", "web", "shadow"], ...] = Field(
        ("receive", "work", "deliver", "web"),
        description="roles that must run, on any machine, for the node to be ready",
    )
