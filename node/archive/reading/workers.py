"""The workers of a reading: Ray actors that hold the networks, each on cores of its own."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

from node.archive.reading.result import Reading
from node.archive.reading.study import Material, Read
from node.errors import BadConfiguration

Make = Callable[[], AbstractContextManager[Read]]
"""Loads networks, and gives what reads a study with them."""


class Worker:
    """What runs in the process of an actor."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._stack = ExitStack()
        self._read: Read | None = None

    def place(self) -> str:
        """Return the name of the machine that it was put on."""
        import ray

        name: str = ray.get_runtime_context().get_node_id()
        return name

    def prepare(self, slot: int, cores: int) -> int:
        """Load the networks, on cores that no other worker of the machine has; return its process.

        Parameters
        ----------
        slot
            Which of the groups of so many cores it has.
        """
        mine = sorted(os.sched_getaffinity(0))[slot * cores : (slot + 1) * cores]
        if len(mine) == cores:
            os.sched_setaffinity(0, mine)
        self._read = self._stack.enter_context(self._make())
        return os.getpid()

    def close(self) -> None:
        """Leave nothing behind."""
        self._stack.close()

    def read(self, material: Material) -> Reading:
        """Return what comes of a study."""
        assert self._read is not None
        return self._read(material)


@dataclass(frozen=True, slots=True)
class Crew:
    """How many workers there are, and what each of them has.

    Attributes
    ----------
    cores
        Of one machine.
    gpus
        The share of a GPU; 0 for none.
    """

    workers: int
    cores: int
    gpus: float = 0.0

    def hire(self, ray: Any, make: Make) -> Any:
        """Return a new actor; it is put on a machine when there is room."""
        options = {"num_cpus": self.cores, "num_gpus": self.gpus, "max_restarts": 0}
        return ray.remote(**options)(Worker).remote(make)


def crew_of(ray: Any, workers: int, gpus: float) -> Crew:
    """Return a crew for the machines there are: one worker a machine if `workers` is 0.

    Raises
    ------
    BadConfiguration
        If there is no room for so many.
    """
    resources = [machine["Resources"] for machine in ray.nodes() if machine["Alive"]]
    cores = [int(each["CPU"]) for each in resources if each.get("CPU")]
    number = workers or len(cores)
    if not number or number > sum(cores):
        raise BadConfiguration(f"--actors: {number} workers, and {sum(cores)} cores to run them")
    shares = sum(int(each.get("GPU", 0) / gpus) for each in resources) if gpus else number
    if number > shares:
        raise BadConfiguration(f"--gpus: {shares} workers find {gpus:g} of a GPU, not {number}")
    a_machine = -(-number // len(cores))
    return Crew(number, max(1, min(cores) // a_machine), gpus)
