"""What is said of a study when its priority comes to stand, rises, is replaced or taken back."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from node.case_folder import case_folder
from node.identity import Identity, PatientIdentity
from node.records import Parcel
from node.states import Priority

KIND = "message"
"""The kind of a parcel that holds an news."""


class What(StrEnum):
    """What happened to a study."""

    FLAG = "flag"
    """It has its first result."""
    RAISE = "raise"
    """Its priority rose."""
    SUPERSEDE = "supersede"
    """A later result replaces the one that was announced."""
    RETRACT = "retract"
    """A hemorrhage was suspected, and no longer is; or a person withdrew the result."""


@dataclass(frozen=True, slots=True)
class News:
    """What is said of a study at one time. It names the patient; a channel decides what leaves.

    Attributes without a description are those of `node.worklist.Row`; times are ISO 8601, UTC.
    """

    study_instance_uid: str
    number: int
    """1 for the study's first news."""
    what: What
    at: str
    case_id: int
    """The case that speaks for the study."""
    patient_id: str
    patient_birth_date: str
    accession_number: str
    priority: Priority
    before: Priority | None
    """The priority that was announced last; None if there was none."""
    prior: bool
    probability: float | None
    uncertain: bool
    volume_ml: float | None
    reason: str | None
    series_instance_uid: str
    key_slice_sop_instance_uid: str | None
    bundle: str | None
    received_at: str
    flagged_at: str | None
    limitations: tuple[str, ...] = ()
    withdrawn: Mapping[str, str] | None = None
    """Who withdrew the result, why, and when (`node.records.Withdrawal`), if anybody did."""

    @property
    def path(self) -> str:
        """Where it lies, relative to the data folder: in the folder of the case that speaks."""
        return f"{case_folder(self.case_id)}/messages/{self.number}.json"

    @property
    def identity(self) -> Identity:
        """Whose study it is."""
        patient = PatientIdentity(self.patient_id, self.patient_birth_date)
        return Identity(self.study_instance_uid, patient)

    @property
    def result(self) -> str:
        """A digest of what is said, without when and why: two that agree say the same."""
        values = {name: getattr(self, name) for name in _RESULT}
        for name, digits in (("probability", 2), ("volume_ml", 0)):
            if values[name] is not None:
                values[name] = round(values[name], digits)
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()

    def to_bytes(self) -> bytes:
        """Return the news as JSON; the same news gives the same bytes."""
        values = asdict(self)
        if self.withdrawn is None:
            del values["withdrawn"]
        return json.dumps(values, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "News":
        """Rebuild an news from `to_bytes`.

        Raises
        ------
        ValueError
            If the bytes hold none.
        """
        values: dict[str, Any] = json.loads(data)
        names = {field.name for field in fields(cls)}
        if not names - _SELDOM <= set(values) <= names:
            raise ValueError("no news")
        values["what"] = What(values["what"])
        values["priority"] = Priority(values["priority"])
        values["before"] = values["before"] and Priority(values["before"])
        return cls(**{**values, "limitations": tuple(values["limitations"])})

    def parcel(self, channel: str) -> Parcel:
        """Return the news as a parcel of a channel; its key is the digest of its bytes."""
        digest = hashlib.sha256(self.to_bytes()).hexdigest()
        return Parcel(channel, KIND, self.path, digest, {"sha256": digest})


_SELDOM = {"withdrawn"}
"""What is written only where it says something."""
_RESULT = (
    *("case_id", "patient_id", "patient_birth_date", "accession_number", "priority"),
    *("probability", "uncertain", "volume_ml", "reason", "key_slice_sop_instance_uid", "bundle"),
)


def read_news(path: Path, sha256: str) -> News | None:
    """Return the news that a file holds; None if its bytes have another digest."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() != sha256:
        return None
    return News.from_bytes(data)
