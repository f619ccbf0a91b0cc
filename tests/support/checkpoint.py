"""A checkpoint that keeps pynetdicom's reactor from the answers to the tests' own requests."""

from threading import Condition
from typing import Any

from pynetdicom.association import Association


class Checkpoint:
    """Where the reactor of an association waits while another thread awaits an answer.

    pynetdicom's own is an event: just after it the reactor still counts as paused, and on a busy
    machine it may then take the answer and drop it (pynetdicom's issue 875). Here the reactor
    counts as running before it is let through.
    """

    def __init__(self, association: Association) -> None:
        self._association, self._changed, self._is_open = association, Condition(), True

    def set(self) -> None:
        """Let the reactor through."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Let the reactor wait when it comes next."""
        with self._changed:
            self._is_open = False

    def wait(self) -> None:
        """Return once the checkpoint is open; the reactor then counts as running."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_open)
            self._association._is_paused = False


def install() -> None:
    """Give each association that this process makes such a checkpoint."""
    made: Any = Association.__init__

    def make(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        self._reactor_checkpoint = Checkpoint(self)

    Association.__init__ = make  # type: ignore[method-assign]
