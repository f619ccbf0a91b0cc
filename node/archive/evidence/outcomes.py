"""What became of each study that was read: a Parquet data set, one small file a batch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from node.archive.proof import Proof
from node.errors import Permanent


class Result(StrEnum):
    """How the reading of a study ended."""

    SUSPECTED = "SUSPECTED"
    NO_FINDING = "NO_FINDING"
    NOT_ANALYSED = "NOT_ANALYSED"
    FAILED = "FAILED"
    KILLED = "KILLED"


ANALYSED = (Result.SUSPECTED, Result.NO_FINDING)
"""Results that say something of bleeding. The others never count as "no finding"."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One study that was read.

    Attributes
    ----------
    study, patient, accession
        Pseudonyms; "" where there is none.
    reason
        Why it was not analysed, failed or killed its worker; "" if it was analysed.
    probability, volume_ml
        None where the study was not analysed.
    subtypes
        Probability of each subtype that the bundle names.
    threshold
        The score from which a study is flagged, at this operating point.
    key_slice
        Index into the study's images, from 0; None if the detector marked none.
    """

    study: str
    patient: str
    accession: str
    result: Result
    reason: str
    probability: float | None
    uncertain: bool
    subtypes: Mapping[str, float]
    volume_ml: float | None
    limitations: tuple[str, ...]
    mimics: tuple[str, ...]
    operating_point: str
    threshold: float | None
    bundle: str
    bundle_version: str
    scanner: str
    kernel: str
    thickness_mm: float | None
    age_band: str
    sex: str
    place: str
    study_date: str
    read_at: datetime | None
    key_slice: int | None

    @property
    def analysed(self) -> bool:
        """Whether the detector said whether it bleeds."""
        return self.result in ANALYSED

    @property
    def flagged(self) -> bool:
        """Whether a bleed was suspected."""
        return self.result is Result.SUSPECTED


def read_outcomes(proof: Proof) -> dict[str, Outcome]:
    """Return the outcome of each study, by its pseudonym; of one read again, the last.

    Raises
    ------
    Permanent
        If there are none, or a file cannot be read.
    """
    files = sorted(proof.outcomes.glob("*.parquet"))
    found: dict[str, Outcome] = {}
    for file in files:
        for outcome in map(_outcome, _rows(file)):
            before = found.get(outcome.study)
            if before is None or _when(before) <= _when(outcome):
                found[outcome.study] = outcome
    if not found:
        raise Permanent(
            f"{proof.outcomes} has no outcome of a study: run `ichnode archive read` first"
        )
    return found


def _rows(file: Path) -> Iterable[dict[str, Any]]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file) as opened:
            if missing := {"study", "result"} - set(opened.schema_arrow.names):
                raise Permanent(f"{file} is no table of outcomes: it has no {min(missing)!r}")
            rows: list[dict[str, Any]] = opened.read().to_pylist()
    except (ArrowException, OSError) as error:
        raise Permanent(
            f"{file} cannot be read ({error}): put it back from a copy, or take it away and have "
            "ichnode archive read read its studies again"
        ) from error
    return rows


def _outcome(row: Mapping[str, Any]) -> Outcome:
    def text(name: str) -> str:
        return str(row.get(name) or "")

    def number(name: str) -> float | None:
        value = row.get(name)
        return None if value is None or value != value else float(value)

    try:
        result = Result(text("result"))
    except ValueError as error:
        raise Permanent(f"study {text('study')}: no result is called {text('result')!r}") from error
    key = row.get("key_slice")
    return Outcome(
        study=text("study"),
        patient=text("patient"),
        accession=text("accession"),
        result=result,
        reason=text("reason"),
        probability=number("probability"),
        uncertain=bool(row.get("uncertain")),
        subtypes=_subtypes(row.get("subtypes")),
        volume_ml=number("volume_ml"),
        limitations=tuple(row.get("limitations") or ()),
        mimics=tuple(row.get("mimics") or ()),
        operating_point=text("operating_point"),
        threshold=number("threshold"),
        bundle=text("bundle"),
        bundle_version=text("bundle_version"),
        scanner=text("scanner"),
        kernel=text("kernel"),
        thickness_mm=number("thickness_mm"),
        age_band=text("age_band"),
        sex=text("sex"),
        place=text("place"),
        study_date=text("study_date"),
        read_at=_utc(row.get("read_at")),
        key_slice=None if key is None else int(key),
    )


def _subtypes(told: Any) -> dict[str, float]:
    """Return the subtypes of a Parquet map (a list of pairs) or struct (a mapping)."""
    pairs = dict(told or {})
    return {str(name): float(p) for name, p in pairs.items() if p is not None}


def _utc(at: Any) -> datetime | None:
    if at is None:
        return None
    read = at if isinstance(at, datetime) else datetime.fromisoformat(str(at))
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def _when(outcome: Outcome) -> datetime:
    return outcome.read_at or datetime.min.replace(tzinfo=UTC)
