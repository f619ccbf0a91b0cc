"""What a department states of itself: a TOML file, and the lists of its own that it names.

`ichnode archive minutes --example` prints such a file, with its keys explained.
"""

import difflib
import tomllib
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

from node.archive.minutes.department import HOURS, NOTHING, Department, ReadingTime
from node.archive.minutes.simulated import Run
from node.archive.tables import column, moment, number
from node.errors import BadConfiguration

Hourly = tuple[float, ...]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < inf


def _hourly(value: Any) -> Hourly | str:
    if isinstance(value, str):
        return value
    if _is_number(value):
        return (float(value),) * HOURS
    if isinstance(value, list) and len(value) == HOURS and all(map(_is_number, value)):
        return tuple(map(float, value))
    raise ValueError("state a number from 0, or 24 of them, or the name of a CSV file")


def _staff(value: Any) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value] * HOURS
    if len(values) == HOURS and all(_is_number(one) and isinstance(one, int) for one in values):
        return tuple(values)
    raise ValueError("state a whole number from 0, or 24 of them")


def _minutes(value: Any) -> float | Hourly | str:
    if isinstance(value, str):
        return value
    if _is_number(value) and value > 0:
        return float(value)
    if isinstance(value, list) and value and all(_is_number(one) and one > 0 for one in value):
        return tuple(map(float, value))
    raise ValueError("state a number above 0, or a list of them, or the name of a CSV file")


PerHour = Annotated[Hourly | str, PlainValidator(_hourly)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Reading(_Table):
    minutes: Annotated[float | Hourly | str, PlainValidator(_minutes)]
    spread: Literal["exponential", "lognormal"] | None = None
    sd_minutes: float | None = Field(None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.spread and not isinstance(self.minutes, float):
            raise ValueError("spread: a list is drawn from as it stands")
        if (self.spread == "lognormal") != (self.sd_minutes is not None):
            raise ValueError('sd_minutes goes with spread = "lognormal", and only with it')
        return self


class _Interruptions(_Reading):
    per_hour: PerHour


class _Readings(_Table):
    bleeding: _Reading
    other: _Reading


class _Studies(_Table):
    per_hour: PerHour
    prevalence: float = Field(gt=0, lt=1)


class _Node(_Table):
    sensitivity: Share
    specificity: Share
    flag: Literal["read next", "interrupts"] = "read next"


class _Simulation(_Table):
    days: int = Field(30, ge=1)
    replications: int = Field(40, ge=2)
    seed: int = Field(1, ge=0)


class _Stated(_Table):
    radiologists: Annotated[tuple[int, ...], PlainValidator(_staff)]
    studies: _Studies
    node: _Node
    reading: _Readings
    interruptions: _Interruptions | None = None
    simulation: _Simulation = _Simulation()


def read_stated(file: Path) -> tuple[Department, Run]:
    """Return the department that a TOML file states, and how much to simulate.

    Files that it names lie beside it.

    Raises
    ------
    BadConfiguration
        The message names the file and the key, and of an unknown key the nearest one.
    """
    try:
        told = _Stated.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        faults = (_explained(one["loc"], one["type"], one["msg"]) for one in error.errors())
        raise BadConfiguration(f"{file}: {'; '.join(faults)}") from error
    except (OSError, ValueError, RecursionError) as error:  # tomllib's own, and UTF-8's
        raise BadConfiguration(f"{file}: {error}") from error
    simulation = told.simulation
    return _department(told, file), Run(simulation.days, simulation.replications, simulation.seed)


def _explained(loc: tuple[int | str, ...], kind: str, message: str) -> str:
    key = ".".join(str(part) for part in loc)
    if kind != "extra_forbidden":
        return f"{key}: {message.removeprefix('Value error, ')}"
    near = difflib.get_close_matches(str(loc[-1]), _keys(), n=1)
    return f"{key}: no such setting" + (f"; did you mean {near[0]}?" if near else "")


def _keys() -> list[str]:
    tables = (_Stated, _Studies, _Node, _Readings, _Reading, _Interruptions, _Simulation)
    return [name for table in tables for name in table.model_fields]


def _department(told: _Stated, file: Path) -> Department:
    stops = told.interruptions
    return Department(
        studies_per_hour=_rates(told.studies.per_hour, file),
        radiologists=told.radiologists,
        prevalence=told.studies.prevalence,
        sensitivity=told.node.sensitivity,
        specificity=told.node.specificity,
        flag_interrupts=told.node.flag == "interrupts",
        bleeding=_reading_time(told.reading.bleeding, file),
        other=_reading_time(told.reading.other, file),
        interruption=_reading_time(stops, file) if stops else NOTHING,
        interruptions_per_hour=_rates(stops.per_hour, file) if stops else (0.0,) * HOURS,
    )


def _rates(told: Hourly | str, file: Path) -> Hourly:
    """Return (24,) arrivals an hour; of a file their mean over its days."""
    if not isinstance(told, str):
        return told
    times = column(file.parent / told, "time", moment)
    days = [time.date() for time in times]
    whole = (max(days) - min(days)).days + 1
    return tuple(sum(time.hour == hour for time in times) / whole for hour in range(HOURS))


def _reading_time(told: _Reading, file: Path) -> ReadingTime:
    minutes = told.minutes
    if isinstance(minutes, str):
        minutes = tuple(column(file.parent / minutes, "minutes", _above_0))
    if isinstance(minutes, tuple):
        return ReadingTime.as_listed(minutes)
    if told.sd_minutes is not None:
        return ReadingTime.lognormal(minutes, told.sd_minutes)
    return ReadingTime.exponential(minutes)


def _above_0(text: str) -> float:
    value = number(text)
    if value <= 0:
        raise ValueError(f"{text!r} minutes: a reading takes more than 0")
    return value
