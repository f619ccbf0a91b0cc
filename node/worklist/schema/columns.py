"""What the tables are made of: words that a column may hold, and kinds of columns."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa


class DeliveryStatus(StrEnum):
    """Where one owed parcel stands."""

    OWED = "OWED"
    SENT = "SENT"
    DEAD = "DEAD"
    """Given up or refused for good: a person must look."""
    CANCELLED = "CANCELLED"
    """No longer owed: the case was replayed, superseded or withdrawn before it was sent."""


class Decision(StrEnum):
    """What became of an object in quarantine."""

    RELEASED = "RELEASED"
    """Filed by a person's will."""
    DISCARDED = "DISCARDED"
    """Not to be filed; its bytes stay on disk, for `retention.decided_days` if that is set."""
    DELETED = "DELETED"
    """Not to be filed; its bytes were removed, by a person's will or by the rule of retention."""
    REPLACED = "REPLACED"
    """A released object of the same SOPInstanceUID took its place, or a whole one did."""


class Mistake(StrEnum):
    """In which way a person found a result to be wrong."""

    MISSED = "MISSED"
    """There is a hemorrhage, or one more, that was not suspected."""
    FALSE_ALARM = "FALSE_ALARM"
    """What was suspected is no hemorrhage."""


class Decided(StrEnum):
    """What a person decided of a chart of the watch."""

    ACKNOWLEDGED = "ACKNOWLEDGED"
    """Its alarm was looked into."""
    RENEWED = "RENEWED"
    """What is usual is learnt anew, from studies that come from then on."""


class Released(StrEnum):
    """What a person did with bundles."""

    PROMOTED = "PROMOTED"
    """Another bundle reads from then on."""
    ROLLED_BACK = "ROLLED_BACK"
    """The one reads again that did before a promotion."""

    @property
    def words(self) -> str:
        """Return it as people read it."""
        return self.lower().replace("_", " ")


class ShadowResult(StrEnum):
    """How the shadow's reading of a case ended."""

    SUSPECTED = "SUSPECTED"
    NO_FINDING = "NO_FINDING"
    NOT_ANALYSED = "NOT_ANALYSED"
    FAILED = "FAILED"
    """Each attempt ended with an error."""
    KILLED = "KILLED"
    """It ended the process that read it, each time."""
    PURGED = "PURGED"
    """Its images, or its result, were gone before it was read."""


class Role(StrEnum):
    """What a person may do."""

    VIEWER = "viewer"
    """See the worklist and the studies."""
    RADIOLOGIST = "radiologist"
    """Also acknowledge, agree and disagree."""
    ADMIN = "admin"
    """Also run the node."""


class Deed(StrEnum):
    """What the audit trail records."""

    SIGNED_IN = "SIGNED_IN"
    SIGN_IN_FAILED = "SIGN_IN_FAILED"
    SIGNED_OUT = "SIGNED_OUT"
    LIST = "LIST"
    """The worklist was shown; once for each session."""
    STUDY = "STUDY"
    """A study's page was shown; once for each study and session."""
    PICTURES = "PICTURES"
    """Slices, masks or the capture of a study were shown; once for each study and session."""
    KEY_SLICE = "KEY_SLICE"
    """The worklist showed a study's key slice; once for each study and session."""
    FEEDBACK = "FEEDBACK"
    UNDONE = "UNDONE"
    ACCOUNT = "ACCOUNT"
    """An account was made or changed."""
    ECHOED = "ECHOED"
    """A destination was asked whether it answers."""
    DELIVERIES = "DELIVERIES"
    """Deliveries were tried again or given up, or sending was paused or resumed."""
    PURGED = "PURGED"
    """Files of a study were removed, by rule or by a person's will."""
    QUARANTINE = "QUARANTINE"
    """What was set aside was released, discarded or replaced."""
    QUERIED = "QUERIED"
    """C-FIND or QIDO-RS; within a study once for each caller and some minutes."""
    RETRIEVED = "RETRIEVED"
    """C-MOVE, C-GET or WADO-RS; once for each study, caller and some minutes."""
    STORED = "STORED"
    """C-STORE or STOW-RS; once for each study, caller and some minutes."""
    DELIVERED = "DELIVERED"
    """A case's results or a message about it went to the destination that did it; once."""
    STARTED = "STARTED"
    """A role of the node began its work."""
    STOPPED = "STOPPED"
    COMMITMENT = "COMMITMENT"
    """A caller asked the node to keep objects, or the node a destination, or one told the other."""
    COVERAGE = "COVERAGE"
    """A person took a study off the list of those that never came."""
    REFUSED = "REFUSED"
    """An association was rejected, or a request or a report of storage commitment refused."""
    CANARY = "CANARY"
    """A person took a finding in a phantom as the one to compare with."""
    WATCH = "WATCH"
    """A person acknowledged alarms of the watch, or had its baselines learnt anew."""
    RETRACTED = "RETRACTED"
    """A person withdrew the results of a study that were sent in error."""
    BUNDLE = "BUNDLE"
    """A person promoted the bundle that read in shadow, or rolled it back."""


class Utc(sa.types.TypeDecorator[datetime]):
    """An aware datetime in UTC, in and out, also where the database keeps no time zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return the value in UTC; a naive one is an error."""
        del dialect
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return the stored value with its zone."""
        del dialect
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value).astimezone(
            UTC
        )


def closed(values: type[StrEnum], name: str) -> sa.Enum:
    """Return the type of a column that holds one of these words."""
    return sa.Enum(values, name=name, native_enum=False, create_constraint=True, length=16)


def uid(name: str, *keys: sa.ForeignKey, **options: Any) -> sa.Column[str]:
    """Return a column that holds a UID."""
    return sa.Column(name, sa.String(64), *keys, **options)


def at(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    """Return a column that holds a time."""
    return sa.Column(name, Utc, nullable=nullable)


def lease() -> tuple[sa.Column[Any], ...]:
    """Return the columns of a row that workers claim; a claim is both of the last two, or none."""
    return (
        sa.Column("attempts", sa.Integer, nullable=False, default=0),
        at("due_at"),
        sa.Column("claimed_by", sa.Text),
        at("lease_until", nullable=True),
    )


def texts(*names: str) -> tuple[sa.Column[str], ...]:
    """Return columns that hold text, "" where there is none."""
    return tuple(sa.Column(name, sa.Text, nullable=False) for name in names)


def catalogued(*, new: bool) -> sa.Column[bool]:
    """Return the column that says whether the archive's tables know the row as it is now."""
    default = sa.true() if new else sa.false()
    return sa.Column("catalogued", sa.Boolean, nullable=False, server_default=default)
