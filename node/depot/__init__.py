"""The one door of storage: a local folder, or an object store with copies in a local folder.

Every stage reads and writes below `Depot.root`. With an object store, what is written there counts
once the store has it, and what is read is brought first.
"""

import threading
from functools import cache
from pathlib import Path

from node.depot.folder import Depot
from node.settings import Settings, Storage

__all__ = ["Depot", "depot_of"]


_opening = threading.Lock()


def depot_of(settings: Settings) -> Depot:
    """Return the storage that the settings name; a process has one."""
    with _opening:
        return _opened(settings.data_dir, settings.storage)


@cache
def _opened(data_dir: Path, storage: Storage) -> Depot:
    if not storage.is_on:
        return Depot(data_dir)
    from node.depot.bucket import Bucket
    from node.depot.remote import RemoteDepot

    return RemoteDepot(data_dir, Bucket(storage), int(storage.cache_gb * (1 << 30)))
