"""Inputs for a door, guided by the coverage of the node and of pydicom; by hand, with atheris.

    python -m tests.fuzz.guided header var/fuzz/header -max_total_time=3600

What comes behind the folder is libFuzzer's. It ends with the first finding, which it leaves in the
folder as `crash-`, `timeout-` or `oom-`.
"""

import os
import random
import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["node", "pydicom"]):
    from tests.fuzz.behind import TIME_S
    from tests.fuzz.doors import DOORS

from tests.fuzz.mutations import LONGEST, mutated, with_line
from tests.fuzz.seeds import SEEDS, SERIES
from tests.support import ROOT


def main(name: str, folder: Path, *options: str) -> None:
    """Run as the command that the module describes."""
    folder.mkdir(parents=True, exist_ok=True)
    saved = ROOT / "tests" / "fuzz" / "corpus" / name
    known = [*SEEDS[name].values(), *(path.read_bytes() for path in saved.glob("*"))]
    for number, data in enumerate(known):
        (folder / f"seed-{number}").write_bytes(data)
    change = with_line if SEEDS[name] is SERIES else mutated

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        if SEEDS[name] is not SERIES and seed % 2:
            return bytes(atheris.Mutate(data, most))
        return change(data, known, random.Random(seed))[:most]

    warnings.simplefilter("ignore")
    limits = (f"-timeout={TIME_S:.0f}", "-rss_limit_mb=2048", f"-max_len={LONGEST}")
    with DOORS[name]() as door:
        door(known[0])  # starts processes
        prefix = f"-artifact_prefix={folder}{os.sep}"
        said = [sys.argv[0], *limits, prefix, *options, str(folder)]
        atheris.Setup(said, door, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
