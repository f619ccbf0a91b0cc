"""The records that cross from one stage to the next. Frozen; plain values only.

Paths are relative to the node's data folder, so that the folder can be moved.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from node.announced import Announcement, Corrected
from node.states import Priority, State


@dataclass(frozen=True, slots=True)
class Frame:
    """Where one frame lies: the values of its plane attributes; None if one is absent.

    `position_mm` is ImagePositionPatient, `orientation` ImageOrientationPatient (PS3.3
    C.7.6.2.1.1), in LPS. A single-frame object has one Frame.
    """

    position_mm: tuple[float, float, float] | None
    orientation: tuple[float, float, float, float, float, float] | None

    @property
    def location_mm(self) -> float | None:
        """Position along the slice normal (row direction x column direction), mm."""
        if self.position_mm is None or self.orientation is None:
            return None
        a, b, c, d, e, f = self.orientation
        normal = (b * f - c * e, c * d - a * f, a * e - b * d)
        length = math.hypot(*normal) or 1.0  # cosines may be rounded
        return sum(p * n for p, n in zip(self.position_mm, normal, strict=True)) / length


@dataclass(frozen=True, slots=True)
class Header:
    """What one received object says of itself, read without its pixels.

    Attributes carry the values of the DICOM attributes of the same name; text is "" and numbers
    are None where an attribute is absent or empty. `acquired` is the date and time of
    acquisition, else of the series or study, "YYYYMMDD" or "YYYYMMDDHHMMSS"; `patient_age_years` is
    PatientAge, or the time from the birth date to that day. `substitutes` says in sentences what
    was taken where an attribute is missing or cannot be.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    frames: tuple[Frame, ...]
    patient_id: str = ""
    patient_birth_date: str = ""
    patient_age_years: float | None = None
    acquired: str = ""
    accession_number: str = ""
    study_description: str = ""
    series_description: str = ""
    protocol_name: str = ""
    body_part: str = ""
    modality: str = ""
    image_type: tuple[str, ...] = ()
    manufacturer: str = ""
    convolution_kernel: str = ""
    contrast_agent: str = ""
    frame_of_reference_uid: str = ""
    rescale_type: str = ""
    instance_number: int | None = None
    acquisition_number: int | None = None
    images_in_acquisition: int | None = None
    series_related_instances: int | None = None
    rows: int | None = None
    columns: int | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    slice_thickness_mm: float | None = None
    has_pixel_data: bool = True
    substitutes: tuple[str, ...] = ()
    manufacturer_model_name: str = ""
    station_name: str = ""
    software_versions: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the header as plain JSON values."""
        values = {
            name: getattr(self, name) for name in self.__slots__
        }  # asdict takes ten times longer
        return {**values, "frames": [dataclasses.asdict(frame) for frame in self.frames]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Header":
        """Rebuild a header from `to_json`'s values, lists becoming tuples again."""
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        frames = tuple(
            Frame(*(None if v is None else tuple(v) for v in (f["position_mm"], f["orientation"])))
            for f in values["frames"]
        )
        return cls(**{**plain, "frames": frames})


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Bytes that are on disk for good: fsynced, renamed, their folder fsynced."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Instance:
    """One received object as the worklist knows it."""

    header: Header
    stored: StoredObject
    received_at: datetime
    purged_at: datetime | None = None
    """When its bytes were purged; None while they are on disk."""


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of its series a `Series` holds (`node.cases.parts`).

    Attributes
    ----------
    number, count
        The number of the part, from 0, and how many there are.
    borrowed
        SOPInstanceUIDs of images that another part lends it.
    left_out
        How many images of the series belong to no part: too few of another reconstruction.
    unread
        How many images stand in parts beyond those that are read.
    """

    number: int = 0
    count: int = 1
    borrowed: frozenset[str] = frozenset()
    left_out: int = 0
    unread: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """One received series, or a part of it, with the evidence of its completeness."""

    series_instance_uid: str
    study_instance_uid: str
    instances: tuple[Instance, ...]
    first_received_at: datetime
    last_received_at: datetime
    released_at: datetime | None
    """When the last association that carried it was released; None while one may be open."""
    cut_short: int = 0
    """How many of its images wait in quarantine because their pixels are cut short."""
    associations: int = 1
    """How many associations that carried it were released."""
    announcements: tuple[Announcement, ...] = ()
    in_progress: bool = False
    """Whether a procedure step of its study is in progress: it may make further images."""
    part: Part = Part()
    whole: tuple[Instance, ...] = ()
    """All images of the series where this is a part of it; see `received`."""

    @property
    def received(self) -> tuple[Instance, ...]:
        """All images of the series, those of other parts too."""
        return self.whole or self.instances


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """That results were sent in error: who says so, why, and when."""

    who: str
    why: str
    at: datetime

    def __str__(self) -> str:
        return f"withdrawn by {self.who} on {self.at:%Y-%m-%d at %H:%M} UTC: {self.why}"

    def to_json(self) -> dict[str, str]:
        """Return it as JSON prints it."""
        return {"who": self.who, "why": self.why, "at": self.at.isoformat()}


@dataclass(frozen=True, slots=True)
class Case:
    """One series, or a part of it, to be read by one bundle version: a row of the worklist."""

    id: int
    study_instance_uid: str
    series_instance_uid: str
    state: State
    priority: Priority
    attempts: int
    folder: str
    """Where its files lie, relative to the data folder (`node.case_folder.CaseFolder`)."""
    supersedes: int | None = None
    """The case of the same series whose result this one replaces (late slices)."""
    reason_code: str | None = None
    reason: str | None = None
    part: int = 0
    """Which part of its series it reads (`node.cases.parts`)."""
    interruptions: int = 0
    """How often its stage was ended from outside: its worker was killed, or memory was gone."""
    withdrawal: Withdrawal | None = None
    """Of a case that withdraws the results of those that it supersedes, and reads nothing."""


@dataclass(frozen=True, slots=True)
class SliceRef:
    """One slice to read: a frame of a stored object."""

    path: str
    sha256: str
    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int
    """1-based, as in ReferencedFrameNumber."""
    position_mm: tuple[float, float, float] | None
    """None only in the plan of a series that is not analysed."""
    location_mm: float | None = None
    """`Frame.location_mm` of the slice."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """A part of a planned series that nobody saw (`node.cases.clearance`)."""

    code: str
    """The `node.states.Reason` that forbids to clear the series."""
    message: str
    forbids: bool
    """Whether it forbids to clear the series; else it is a limitation."""
    after: int | None = None
    """The index of the slice below the gap; None if it is not between two slices."""


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The structured report on an earlier reading of a series that late images have outdated."""

    series_instance_uid: str
    """The report's own series, in the study of the images."""
    sop_class_uid: str
    sop_instance_uid: str
    later_images: int
    """How many images of the series arrived after those that it was made from."""
    ordinal: int = 1
    """Which result of the series it belongs to: 1 is the first, 2 the one that replaced it."""
    withdrawn: bool = False
    """Whether it says that a result was withdrawn."""


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """What `assemble` decided about a series.

    The plan of a series to be read holds its slices in order along the normal. The plan of a series
    that is not analysed holds everything received of it, so that the report can name it.
    """

    study_instance_uid: str
    series_instance_uid: str
    slices: tuple[SliceRef, ...]
    decision: str
    """Why this series, in one sentence."""
    reason: str = ""
    """Why it is not analysed; "" if it is to be read."""
    limitations: tuple[str, ...] = ()
    """What whoever reads the report must know: shown in the SR and in the worklist."""
    decided_at: str = ""
    """The date of the report, ISO 8601 UTC, set by the pipeline; a retry writes the same date."""
    copies: tuple[SliceRef, ...] = ()
    """Images at the positions of `slices`: the same ones, or different ones that are read too."""
    unseen: tuple[Unseen, ...] = ()
    """What nobody saw of the series; its sentences stand among `limitations` too."""
    continued: tuple[str, ...] = ()
    """The ends, "top" and "bottom", at which another series of the study shows more of the head."""
    closed_by: str = ""
    """The evidence, or the timer, by which the series counted as complete."""
    saved_s: float = 0.0
    """How much earlier that was than `assemble.idle_s` after the last slice, seconds."""
    replaces: Predecessor | None = None
    """The older report that the new one supersedes at the PACS; set by the pipeline."""
    names_contrast: bool = False
    """Whether a header names a contrast agent; the pixels are measured beside it."""
    scans: tuple[str, ...] = ()
    """What the report says of each scan of the study, if there are several; not written."""
    in_part: str = ""
    """Why the series is not cleared, though nothing suspicious was seen; not written."""
    corrected: Corrected | None = None
    """Whose the study is now, if not the images' patient; not written."""

    def without(self, gone: Unseen) -> "SeriesPlan":
        """Return the plan with one more part that nobody saw."""
        said = (*self.limitations, gone.message)
        return dataclasses.replace(self, unseen=(*self.unseen, gone), limitations=said)

    def agrees(self, other: "SeriesPlan") -> bool:
        """Return whether the other plan makes the same report, apart from its date."""
        mine, theirs = (
            dataclasses.replace(plan, decision="", closed_by="", saved_s=0.0, decided_at="")
            for plan in (self, other)
        )
        return mine == theirs

    def write(self, path: Path) -> None:
        """Write the plan as JSON."""
        values = dataclasses.asdict(self)
        del values["scans"], values["in_part"], values["corrected"]  # the report's, and of its day
        path.write_text(json.dumps(values, indent=1))

    @classmethod
    def read(cls, path: Path) -> "SeriesPlan":
        """Read a plan that `write` wrote."""
        values = json.loads(path.read_text())
        slices, copies = (
            tuple(
                SliceRef(**{**s, "position_mm": s["position_mm"] and tuple(s["position_mm"])})
                for s in values.get(name, ())
            )
            for name in ("slices", "copies")
        )
        limitations = tuple(values["limitations"])
        unseen = tuple(Unseen(**one) for one in values.get("unseen", ()))
        values["continued"] = tuple(values.get("continued", ()))
        older = values.get("replaces")
        values |= {"slices": slices, "copies": copies, "limitations": limitations, "unseen": unseen}
        return cls(**{**values, "replaces": older and Predecessor(**older)})


@dataclass(frozen=True, slots=True)
class Closing:
    """When a series counts as complete unless another image comes, and by what evidence."""

    at: datetime
    why: str
    saved_s: float = 0.0
    """How much sooner that is than the end of the idle timer, seconds."""


@dataclass(frozen=True, slots=True)
class Scan:
    """One acquisition of a study: what its series have in common."""

    name: str
    """The same for all series of the scan, and another for each scan of a study."""
    acquired: str = ""
    """When it began, "YYYY-MM-DD HH:MM" by the scanner's clock; "" if no header says it."""


@dataclass(frozen=True, slots=True)
class Preferred:
    """The series that is read instead of another readable one of its study."""

    line: str
    """The line of `node.cases.choice.RANKING` that decided."""
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class ReportObject:
    """One DICOM object that a report is made of, as it lies in the case folder."""

    kind: str
    """A key of `node.dicom.write.source.SERIES_NUMBERS`, such as "seg" or "sr"."""
    path: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str = ""
    """"" if the outbox has it from a version before 0.3.0, which did not note it."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a destination is owed: a payload that one channel can send."""

    channel: str
    """How it is sent: "dicom"."""
    kind: str
    """What it is, such as "seg" or "sr"."""
    path: str
    """Where the payload lies, relative to the data folder."""
    dedup_key: str
    """A destination gets one parcel of each key from a case, however often it is owed."""
    address: Mapping[str, str]
    """What the channel alone understands."""

    @classmethod
    def of(cls, item: ReportObject) -> "Parcel":
        """Return a DICOM object as a parcel of the channel "dicom"; its key is its UID."""
        names = ("sop_class_uid", "sop_instance_uid", "series_instance_uid")
        uids = {name: getattr(item, name) for name in names}
        return cls("dicom", item.kind, item.path, item.sop_instance_uid, uids)

    @property
    def object(self) -> ReportObject:
        """The DICOM object that this parcel of the channel "dicom" holds."""
        return ReportObject(self.kind, self.path, **self.address)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One parcel owed to one destination: a row of the outbox."""

    id: int
    case_id: int
    destination: str
    parcel: Parcel
    attempts: int
    high_priority: bool
