"""Which bundle reads: what people promoted and rolled back, the newest of which stands.

The newest row stands above the settings, on every machine of the node, until a rollback says that
the settings hold again. Rows are only added.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.worklist.schema.bundle_tables import bundle_release
from node.worklist.schema.columns import Deed, Released
from node.worklist.schema.database import Database
from node.worklist.studies.chains import IllegalMove
from node.worklist.trail.audit import Actor, recorded


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle, and where it lies.

    Attributes
    ----------
    folder
        As the settings name it: a name alone if it comes with ichnode.
    digest
        SHA-256 of its list of digests (`models.bundle.Identity`).
    """

    folder: str
    name: str
    version: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Release:
    """That a person promoted a bundle, or rolled one back.

    Attributes
    ----------
    bundle, was
        What reads from then on, and what read before.
    by_settings
        Whether the settings name what reads, so that they hold again.
    read
        How many studies the shadow had read of a bundle that was promoted.
    """

    id: int
    what: Released
    bundle: Bundle
    was: Bundle
    by_settings: bool
    read: int
    who: str
    why: str
    at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return it as `ichnode shadow status --json` lists it; a stable interface."""
        return {
            "what": self.what.value,
            "bundle": asdict(self.bundle),
            "was": asdict(self.was),
            "by_settings": self.by_settings,
            "studies_read": self.read,
            "who": self.who,
            "why": self.why,
            "at": self.at.isoformat(),
        }


class Releases:
    """The worklist as those see it who decide which bundle reads, and who read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self) -> Release | None:
        """Return what was decided last; None if nothing was."""
        query = sa.select(bundle_release).order_by(bundle_release.c.id.desc()).limit(1)
        with self._database.read() as db:
            row = db.execute(query).one_or_none()
        return None if row is None else _release(row)

    def listed(self) -> list[Release]:
        """Return what was decided, the oldest first."""
        with self._database.read() as db:
            return _listed(db)

    def decide(
        self,
        what: Released,
        bundle: Bundle,
        was: Bundle,
        by: Actor,
        why: str,
        now: datetime,
        *,
        by_settings: bool = False,
        read: int = 0,
        after: Release | None,
    ) -> None:
        """Have a bundle read from the next case on.

        Parameters
        ----------
        after
            What was decided last when this was looked into.

        Raises
        ------
        IllegalMove
            If somebody decided something else meanwhile.
        """
        values = {"what": what, "by_settings": by_settings, "read": read, "at": now}
        values |= {"who": by.name, "why": why, **asdict(bundle)}
        values |= {f"was_{name}": value for name, value in asdict(was).items()}
        number = sa.func.max(bundle_release.c.id)
        with self._database.write() as db:
            if db.dialect.name == "postgresql":  # SQLite has one writer
                db.execute(sa.text("LOCK TABLE bundle_release IN EXCLUSIVE MODE"))
            if db.scalar(sa.select(number)) != (after and after.id):
                raise IllegalMove("somebody else has just decided which bundle reads: look again")
            db.execute(bundle_release.insert().values(values))
            told = f"{what.words}: {bundle} (was {was})"
            recorded(db, by, Deed.BUNDLE, now, about=f"{told}: {why}")


def standing_promotion(decided: Sequence[Release]) -> Release | None:
    """Return the promotion that a rollback would take back; None if none stands. Pure.

    Parameters
    ----------
    decided
        What was decided, the oldest first.
    """
    promoted: list[Release] = []
    for one in decided:
        if one.what is Released.PROMOTED:
            promoted.append(one)
        elif promoted:
            promoted.pop()
    return promoted[-1] if promoted else None


def _listed(db: sa.Connection) -> list[Release]:
    query = sa.select(bundle_release).order_by(bundle_release.c.id)
    return [_release(row) for row in db.execute(query)]


def _release(row: sa.Row[Any]) -> Release:
    names = Bundle.__dataclass_fields__
    return Release(
        row.id,
        row.what,
        Bundle(*(row._mapping[name] for name in names)),
        Bundle(*(row._mapping[f"was_{name}"] for name in names)),
        row.by_settings,
        row.read,
        row.who,
        row.why,
        row.at,
    )
