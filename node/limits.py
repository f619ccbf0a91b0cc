"""What a process may take, and which goes first where there is not enough. Linux only."""

import os
import resource
import signal
import threading
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path


def forbid_core_dump() -> None:
    """Have the process leave no core dump: it would show a patient."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def end_with_parent() -> None:
    """Have this process of `multiprocessing` end as soon as the one that started it has, however.

    The kernel's own signal for that (PR_SET_PDEATHSIG) comes with the end of the parent's thread.
    """
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def limit_memory(memory_mb: int) -> None:
    """Allow this much memory beyond what the process has now.

    RLIMIT_DATA counts private memory that can be written. RLIMIT_AS would also count address space
    that is only reserved, 64 MiB and more for each thread, and so depend on the processor.
    """
    data_pages = int(Path("/proc/self/statm").read_text().split()[5])
    limit = data_pages * resource.getpagesize() + (memory_mb << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def give_way() -> None:
    """Have every other process of the machine go before this one and those that it starts.

    Beside one that wants the processor it gets a tenth of it (sched(7)), and the kernel ends it
    first when memory is gone (oom_score_adj, proc(5)). At the lowest priority, 19, it would get a
    seventieth, and on a machine that is never idle not end what it begins.
    """
    os.nice(10)
    with suppress(OSError):  # a container may have it read-only
        Path("/proc/self/oom_score_adj").write_text("1000")
