"""What is made once for a whole run of the tests, also where several processes share the tests."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def shared(temporary: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """Hold the folder of that name; who holds it next finds what was left in it.

    Parameters
    ----------
    temporary
        The session's folders. With pytest-xdist each worker has one, below the one of the run.
    name
        The same folder in every worker of the run.
    """
    root = temporary.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / f"shared-{name}"
    folder.mkdir(exist_ok=True)
    with (root / f"shared-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # closing the file gives it back
        yield folder
