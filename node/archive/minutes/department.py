"""A reading room as a queue sees it: what arrives, how long it is read, and by how many."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from node.errors import BadConfiguration

Floats = NDArray[np.float64]

HOURS = 24
MINUTES = 60


class Group(StrEnum):
    """Studies whose waits are told apart."""

    FOUND = "bleeds found"
    MISSED = "bleeds missed"
    BLEEDS = "all bleeds"
    OTHERS = "without a bleed"


class Law(StrEnum):
    """How the minutes of readings of one kind are spread."""

    EXPONENTIAL = "exponential"
    LOGNORMAL = "lognormal"
    LISTED = "listed"


@dataclass(frozen=True, slots=True)
class ReadingTime:
    """The minutes that readings of one kind take.

    Attributes
    ----------
    mean_min, sd_min
        Mean and standard deviation.
    listed
        Of `Law.LISTED`: the minutes that readings took, each as likely as another.
    """

    law: Law
    mean_min: float
    sd_min: float
    listed: tuple[float, ...] = ()

    @classmethod
    def exponential(cls, mean_min: float) -> "ReadingTime":
        """Return exponential minutes: their standard deviation is their mean."""
        return cls(Law.EXPONENTIAL, mean_min, mean_min)

    @classmethod
    def lognormal(cls, mean_min: float, sd_min: float) -> "ReadingTime":
        """Return lognormal minutes of this mean and standard deviation."""
        return cls(Law.LOGNORMAL, mean_min, sd_min)

    @classmethod
    def as_listed(cls, minutes: tuple[float, ...]) -> "ReadingTime":
        """Return minutes that are drawn from a list."""
        return cls(Law.LISTED, float(np.mean(minutes)), float(np.std(minutes)), minutes)

    @property
    def square_min2(self) -> float:
        """Mean of the squared minutes."""
        return self.mean_min**2 + self.sd_min**2

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        """Return the (count,) float64 minutes of as many readings."""
        if self.law is Law.EXPONENTIAL:
            return rng.exponential(self.mean_min, count)
        if self.law is Law.LISTED:
            return rng.choice(np.asarray(self.listed, np.float64), count)
        variance = np.log1p((self.sd_min / self.mean_min) ** 2)
        return rng.lognormal(np.log(self.mean_min) - variance / 2, np.sqrt(variance), count)


NOTHING = ReadingTime.exponential(0.0)
"""What takes no time."""


@dataclass(frozen=True, slots=True)
class Department:
    """A reading room and the node in it.

    Attributes
    ----------
    studies_per_hour, interruptions_per_hour
        (24,) arrivals in each hour of the day, from midnight. Studies are what the node reads and
        the radiologists find in their list; an interruption stops a reading at once.
    radiologists
        (24,) how many read in each hour of the day. Who goes finishes the reading in hand.
    prevalence
        Share of the studies that bleed.
    flag_interrupts
        Whether a flagged study stops the reading of another; else it is read next.
    """

    studies_per_hour: tuple[float, ...]
    radiologists: tuple[int, ...]
    prevalence: float
    sensitivity: float
    specificity: float
    flag_interrupts: bool
    bleeding: ReadingTime
    other: ReadingTime
    interruption: ReadingTime = NOTHING
    interruptions_per_hour: tuple[float, ...] = (0.0,) * HOURS

    @property
    def load(self) -> float:
        """Minutes of reading that arrive in a day, by the minutes that radiologists are there."""
        study = (
            self.prevalence * self.bleeding.mean_min + (1 - self.prevalence) * self.other.mean_min
        )
        work = sum(self.studies_per_hour) * study
        work += sum(self.interruptions_per_hour) * self.interruption.mean_min
        there = sum(self.radiologists) * MINUTES
        return work / there if there else float("inf")

    @property
    def is_steady(self) -> bool:
        """Whether every hour of the day is like every other."""
        return all(
            len(set(hours)) == 1
            for hours in (self.studies_per_hour, self.radiologists, self.interruptions_per_hour)
        )

    @property
    def settling_days(self) -> int:
        """Whole days after which an empty room is as full as it usually is.

        Five times the relaxation time of M/M/c, 1 / (c mu (1 - sqrt(load))^2), and a day at least.
        """
        mean_min = max(self.bleeding.mean_min, self.other.mean_min, self.interruption.mean_min)
        readers = sum(self.radiologists) / HOURS
        relaxation_min = mean_min / (readers * (1 - np.sqrt(self.load)) ** 2)
        return int(np.ceil(max(1.0, 5 * relaxation_min / (HOURS * MINUTES))))

    def check(self) -> None:
        """Refuse a room in which the list grows for ever.

        Raises
        ------
        BadConfiguration
            The message says by how much.
        """
        if self.load >= 1:
            raise BadConfiguration(
                f"the radiologists cannot keep up: {self.load:.2f} minutes of reading arrive for "
                "each minute that a radiologist is there, so the list grows for ever and no wait "
                "has a mean; state fewer studies or interruptions, shorter readings or more "
                "radiologists"
            )
