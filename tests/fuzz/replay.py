"""Runs inputs through a door in a process of limited memory, and ends it where an input hangs.

    python -m tests.fuzz.replay header tests/fuzz/corpus/header      each file once
    python -m tests.fuzz.replay header tests/fuzz/corpus/header --minutes 60 --keep var/fuzz/header

With minutes, inputs are mutated for so long, and those that find something are kept. The exit
status is 0 if nothing was found. Each finding is told on standard output with its traceback.
"""

import argparse
import faulthandler
import hashlib
import logging
import os
import random
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from node.limits import forbid_core_dump
from tests.fuzz.behind import TIME_S, Door
from tests.fuzz.doors import DOORS
from tests.fuzz.mutations import mutated, with_line
from tests.fuzz.seeds import SEEDS, SERIES

MEMORY_MB = 512
"""What an input of 64 KB or less may take."""
HANG_S = 60.0
"""An input that takes so long by the clock ends the process; of the processor it may have `TIME_S`,
so that a busy machine finds nothing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the command that the module describes, of a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("door", choices=DOORS)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--keep", type=Path, help="folder for inputs that find something")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    known = [*SEEDS[given.door].values(), *(p.read_bytes() for p in sorted(given.corpus.glob("*")))]
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    forbid_core_dump()
    inputs: Iterable[bytes] = known
    if given.minutes:
        inputs = _mutations(given.door, known, given.minutes * 60, given.seed)
    with DOORS[given.door]() as door:
        door(known[0])  # imports, and starts processes
        _limit_memory()
        found = sum(1 for _ in _findings(door, inputs, given.keep))
    _say(f"{given.door}: {found} findings")
    return 1 if found else 0


def _limit_memory() -> None:
    """Allow `MEMORY_MB` more; a process that the door starts may set a limit of its own."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    limit = pages * resource.getpagesize() + (MEMORY_MB << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))


def _mutations(name: str, known: list[bytes], seconds: float, seed: int) -> Iterator[bytes]:
    """Yield mutated inputs until the time is over; say how many now and then."""
    chance, change = random.Random(seed), with_line if SEEDS[name] is SERIES else mutated
    start = told = time.monotonic()
    count = 0
    while (now := time.monotonic()) < start + seconds:
        yield change(chance.choice(known), known, chance)
        count += 1
        if now > told + 10:
            told = now
            _say(f"{name}: {count} inputs, {count / (now - start):.0f} a second")


def _findings(door: Door, inputs: Iterable[bytes], keep: Path | None) -> Iterator[bytes]:
    """Yield each input that finds something new, by the place where it was raised."""
    seen = set()
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        if keep is not None:
            (keep / "current").write_bytes(data)
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        start = time.process_time()
        try:
            door(data)
            if (took := time.process_time() - start) > TIME_S:
                raise TimeoutError(f"{took:.1f} s")
        except Exception as error:  # noqa: BLE001  whatever it is, it is a finding
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = (type(error), last.filename, last.lineno)
            if place not in seen:
                seen.add(place)
                _tell(error, data, keep)
                yield data
        finally:
            faulthandler.cancel_dump_traceback_later()


def _tell(error: Exception, data: bytes, keep: Path | None) -> None:
    traceback.print_exception(error, limit=-6, file=sys.stdout)
    name = f"{type(error).__name__}-{hashlib.sha256(data).hexdigest()[:12]}"
    _say(f"--> {name}, {len(data)} bytes")
    if keep is not None:
        (keep / name).write_bytes(data)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    code = main()
    os._exit(code)  # threads of a door that hang keep nobody waiting
