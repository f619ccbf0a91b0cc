"""Settings of the copies of the database that the node makes by itself."""

from pydantic import Field

from node.settings.section import Section


class Backup(Section):
    """Copies of the SQLite database that the node makes by itself."""

    folder: str = Field("", description="where they go, best on another disk; empty: none is made")
    every_hours: float = Field(24.0, gt=0, description="how often one is made, hours")
    keep: int = Field(7, ge=1, description="how many are kept")
