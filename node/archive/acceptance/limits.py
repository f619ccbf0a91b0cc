"""What a department demanded beforehand, and whether the figures meet it.

`ichnode archive report --example` prints such a file, with its keys explained.
"""

import difflib
import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from node.archive.acceptance.strata import DIMENSIONS
from node.errors import BadConfiguration

EXAMPLE = """\
# What the node must show before it goes live here. Write it before the first study is read: the
# report says so if this file is newer than the outcomes.

judged_by = "interval"      # the whole 95 % interval must meet a limit; or "estimate"

[signed]                    # may be left out
by = "Head of neuroradiology"
on = 2026-11-01

[at_least]                  # each may be left out
sensitivity = 0.85
specificity = 0.80
npv = 0.98
analysed = 0.95             # share of the studies taken that the node read and answered
bleeds = 100                # a smaller sample proves nothing here
studies = 1000

[in_each.scanner]           # or kernel, thickness, age, place, sex: in each that has enough studies
sensitivity = 0.75
"""

Share = Annotated[float, Field(ge=0, le=1)]


class Verdict(StrEnum):
    """Whether a limit is met."""

    MET = "met"
    NOT_MET = "not met"
    OPEN = "open"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Shares(_Table):
    sensitivity: Share | None = None
    specificity: Share | None = None
    ppv: Share | None = None


class _AtLeast(_Shares):
    npv: Share | None = None
    auc: Share | None = None
    analysed: Share | None = None
    bleeds: int | None = Field(None, ge=1)
    studies: int | None = Field(None, ge=1)


class _Signed(_Table):
    by: str = ""
    on: date | None = None


class _Limits(_Table):
    judged_by: Literal["interval", "estimate"] = "interval"
    signed: _Signed = _Signed()
    at_least: _AtLeast = _AtLeast()
    in_each: Mapping[str, _Shares] = {}


@dataclass(frozen=True, slots=True)
class Limits:
    """What was demanded.

    Attributes
    ----------
    at_least
        Limits of the whole, by name.
    in_each
        Limits of each value of a dimension, by dimension and name.
    changed_at
        When the file was last changed, UTC.
    """

    judged_by: str
    signed_by: str
    signed_on: str
    at_least: Mapping[str, float]
    in_each: Mapping[str, Mapping[str, float]]
    sha256: str
    changed_at: datetime

    def beforehand(self, first_read: datetime | None) -> bool:
        """Return whether the file is older than the reading of the first study."""
        return first_read is None or self.changed_at <= first_read


def read_limits(file: Path) -> Limits:
    """Return the limits of a TOML file.

    Raises
    ------
    BadConfiguration
        The message names the file and the key, and of an unknown key the nearest one.
    """
    try:
        data = file.read_bytes()
        changed = datetime.fromtimestamp(file.stat().st_mtime, UTC)
        told = _Limits.model_validate(tomllib.loads(data.decode()))
    except ValidationError as error:
        faults = (_explained(one["loc"], one["type"], one["msg"]) for one in error.errors())
        raise BadConfiguration(f"{file}: {'; '.join(faults)}") from error
    except (OSError, ValueError, RecursionError) as error:  # tomllib's own, and UTF-8's
        raise BadConfiguration(f"{file}: {error}") from error
    if unknown := [name for name in told.in_each if name not in DIMENSIONS]:
        raise BadConfiguration(
            f"{file}: in_each.{unknown[0]}: studies are told apart by {', '.join(DIMENSIONS)}"
        )
    limits = Limits(
        told.judged_by,
        told.signed.by,
        told.signed.on.isoformat() if told.signed.on else "",
        _given(told.at_least),
        {name: _given(each) for name, each in told.in_each.items()},
        hashlib.sha256(data).hexdigest(),
        changed,
    )
    if not (limits.at_least or any(limits.in_each.values())):
        raise BadConfiguration(f"{file} demands nothing: --example prints limits")
    return limits


def _given(table: BaseModel) -> dict[str, float]:
    return table.model_dump(exclude_none=True)


def _explained(loc: tuple[int | str, ...], kind: str, message: str) -> str:
    key = ".".join(str(part) for part in loc)
    if kind != "extra_forbidden":
        return f"{key}: {message}"
    known = [name for table in (_Limits, _Signed, _AtLeast) for name in table.model_fields]
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"{key}: no such limit" + (f"; did you mean {near[0]}?" if near else "")


def judged(limits: Limits, told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each limit, what was found of it, and whether it is met.

    Parameters
    ----------
    told
        The report as JSON: `figures`, `roc`, `strata`, `flow` and `reference` are looked at.
    """
    lines = [
        _line(name, limit, _whole(name, told), limits.judged_by)
        for name, limit in limits.at_least.items()
    ]
    for dimension, demanded in limits.in_each.items():
        for stratum in told["strata"][dimension]:
            lines += [
                _line(
                    f"{name}, {dimension} {stratum['value']}",
                    limit,
                    stratum[name],
                    limits.judged_by,
                )
                for name, limit in demanded.items()
            ]
    return lines


def _whole(name: str, told: Mapping[str, Any]) -> Mapping[str, Any] | float:
    if name == "auc":
        return told["roc"].get("auc") or {"value": None}
    if name == "bleeds":
        return float(told["figures"]["sensitivity"]["of"])
    if name == "studies":
        return float(told["figures"]["studies"])
    if name == "analysed":
        return told["flow"]["analysed_share"] or {"value": None}
    found: Mapping[str, Any] = told["figures"][name]
    return found


def _line(
    what: str, limit: float, found: Mapping[str, Any] | float, judged_by: str
) -> dict[str, Any]:
    if isinstance(found, float):  # a count: with more studies it may still come
        verdict = Verdict.MET if found >= limit else Verdict.OPEN
        return {"what": what, "limit": limit, "found": {"value": found}, "verdict": verdict}
    told = {name: found.get(name) for name in ("value", "low", "high")}
    return {
        "what": what,
        "limit": limit,
        "found": told,
        "verdict": _verdict(limit, told, judged_by),
    }


def _verdict(limit: float, found: Mapping[str, float | None], judged_by: str) -> Verdict:
    value, low, high = found["value"], found["low"], found["high"]
    if value is None or low is None or high is None:
        return Verdict.OPEN
    if judged_by == "estimate":
        return Verdict.MET if value >= limit else Verdict.NOT_MET
    if low >= limit:
        return Verdict.MET
    return Verdict.NOT_MET if high < limit else Verdict.OPEN


def overall(lines: Sequence[Mapping[str, Any]]) -> Verdict:
    """Return the verdict of all limits together: not met if one is not, open if one is."""
    verdicts = {line["verdict"] for line in lines}
    if Verdict.NOT_MET in verdicts:
        return Verdict.NOT_MET
    return Verdict.OPEN if Verdict.OPEN in verdicts else Verdict.MET
