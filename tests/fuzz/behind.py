"""What stands behind several doors: a node of its own, and the limits of an input."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from node.settings import Adt, Caller, Decode, Receive, Settings
from node.worklist import Worklist
from tests.support.databases import new_database

Door = Callable[[bytes], None]

CALLER = {"ae_title": "PEER", "may": ("store", "find", "move", "get", "commit")}
TIME_S = 5.0
"""What an input may take of the processor, and of the clock in a process that decodes."""
LIMITS = Decode(timeout_s=TIME_S, memory_mb=256)
"""Of the processes that decode."""


@contextmanager
def node() -> Iterator[tuple[Settings, Worklist]]:
    """Yield the settings and the worklist of an empty node."""
    with TemporaryDirectory() as folder:
        receive = Receive(
            host="127.0.0.1",
            port=0,
            min_free_mb=0,
            max_object_mb=1,
            network_timeout_s=1,
            callers=(Caller(**CALLER),),
            adt=Adt(),
        )
        settings = Settings(data_dir=Path(folder, "node"), receive=receive)
        new_database(settings.url)
        with Worklist(settings.url) as worklist:
            yield settings, worklist
