"""Ray: one on this machine for as long as a reading lasts, or a cluster that runs already.

Usage statistics and the dashboard are off, and whoever talks to it needs its token: a Ray runs any
code that it is given. What it writes lies in a folder of this user alone: it may hold images.
"""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from node.errors import BadConfiguration, Retryable
from node.scratch import scratch

ANSWER_S = 10.0
"""How long the connection to a cluster may take."""
LONGEST_FOLDER = 43
"""Characters: Ray puts sockets below it, whose whole path may have 107 (unix(7)); it adds 64."""
SCRATCH = "ichnode-archive-"
"""What the names of the folders begin with in which studies are read, and Ray writes."""
TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@contextmanager
def ray_at(address: str) -> Iterator[Any]:
    """Yield Ray, connected to a cluster; to one on this machine for "".

    Raises
    ------
    BadConfiguration
        If the extra is not installed, the temporary folder has too long a path, or the cluster does
        not take this user's token.
    Retryable
        If there is no cluster at the address, or none can be started.
    """
    _settle(local=not address)
    try:
        import ray
        from ray.exceptions import AuthenticationError
    except ModuleNotFoundError as error:
        raise BadConfiguration("Ray is not installed: pip install 'ichnode[archive]'") from error
    with scratch(SCRATCH) as folder:
        if not address and len(str(folder)) > LONGEST_FOLDER:
            raise BadConfiguration(
                f"{folder.parent} is too long a path for Ray's sockets: set TMPDIR to a shorter one"
            )
        where = _there(address) if address else _here(folder)
        try:
            ray.init(
                **where,
                namespace="ichnode",
                log_to_driver=False,
                logging_level="ERROR",
            )
        except AuthenticationError as error:
            raise BadConfiguration(f"Ray at {address}: {_first_line(error)}") from error
        except Exception as error:  # noqa: BLE001  Ray raises this very class where it is slow
            raise Retryable(
                _refused(address) if address else f"no Ray here: {_first_line(error)}"
            ) from error
        try:
            yield ray
        finally:
            ray.shutdown()


def _settle(*, local: bool) -> None:
    """Set what Ray reads when it is imported."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")  # seconds, to join a cluster
    if local and not any(os.environ.get(name) for name in TOKEN_VARIABLES):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _here(folder: Path) -> dict[str, Any]:
    """Return how a Ray of this machine's own is started."""
    return {
        "address": "local",
        "num_cpus": len(os.sched_getaffinity(0)),
        "include_dashboard": False,
        "_temp_dir": str(folder),
    }


def _there(address: str) -> dict[str, Any]:
    """Return how a cluster is reached, if somebody answers there: Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWER_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise Retryable(f"no Ray at {address} ({error}); write it as HOST:PORT") from error
    return {"address": address}


def _refused(address: str) -> str:
    """Return why a cluster that answers lets nobody in; Ray does not say it."""
    return (
        f"what answers at {address} does not let us in: is it a Ray of this version, and has this "
        "user its token (RAY_AUTH_TOKEN, ~/.ray/auth_token)?"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
