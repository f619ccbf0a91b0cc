"""Peers to test against, DCMTK and Orthanc as hospitals have them, and small CT series to send."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest

from models.volume import Volume
from node.settings import Destination
from tests.conftest import require_program
from training.datasets.series import Identity, write_series

NODELAY = {"TCP_NODELAY": "1"}
"""DCMTK reads it; without it Nagle's algorithm and delayed ACKs cost some 40 ms an object."""


def free_port() -> int:
    """Return a TCP port that is free on loopback now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until(true: Callable[[], Any], within_s: float = 60.0) -> Any:
    """Return the first true answer; fail if there is none in time.

    What takes longer is asked for more rarely, to leave the processor to it.
    """
    began = time.monotonic()
    while not (answer := true()):
        if time.monotonic() - began > within_s:
            pytest.fail(f"not within {within_s} s: {true}")
        time.sleep(min(0.02 + (time.monotonic() - began) / 20, 0.1))
    return answer


def listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def peer(ae_title: str, port: int) -> Destination:
    return Destination(name="peer", ae_title=ae_title, host="127.0.0.1", port=port)


def ct_series(folder: Path, slices: int = 4, *, seed: str = "a", size: int = 32) -> list[Path]:
    """Write a CT series of noise; the same seed is the same patient, study and series."""
    return write_series(_noise(slices, size, seed), folder, Identity.of(seed))


def ct_series_of_other_patient(folder: Path, seed: str) -> list[Path]:
    """Write another series of the study of `seed`, under another PatientID."""
    other = replace(
        Identity.of(seed),
        patient_id="OTHER",
        series_instance_uid=Identity.of("b").study_instance_uid,
    )
    return write_series(_noise(1, 32, seed), folder, other)


def _noise(slices: int, size: int, seed: str) -> Volume:
    rng = np.random.default_rng(list(seed.encode()))
    positions = np.zeros((slices, 3))
    positions[:, 2] = np.arange(slices) * 5.0
    return Volume(
        hu=rng.normal(30, 10, (slices, size, size)).astype(np.float32),
        positions_mm=positions,
        orientation=np.array([1.0, 0, 0, 0, 1, 0]),
        spacing_mm=(0.5, 0.5),
    )


@contextmanager
def running(
    command: Sequence[str | Path], port: int, *, env: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server while the block runs, from when it listens; stop it by its own id."""
    process = subprocess.Popen(
        [str(word) for word in command],
        env=env or os.environ | NODELAY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: listening(port) or process.poll() is not None)
        assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def storescp(
    folder: Path, *options: str, port: int | None = None, env: dict[str, str] | None = None
) -> Iterator[Destination]:
    """Run DCMTK's storescp, which files into `folder`; yield it as a destination.

    Faulty on demand: --refuse, --abort-after, --abort-during, --sleep-after N, --sleep-during N.
    """
    require_program("storescp")
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = ["storescp", "-aet", "STORESCP", "-od", folder, *options, str(port)]
    with running(command, port, env=env):
        yield peer("STORESCP", port)


def storescu(
    files: Sequence[Path],
    port: int,
    *options: str,
    called: str = "ICHNODE",
    calling: str = "STORESCU",
    env: dict[str, str] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Send files with DCMTK's storescu; compressed ones need an option such as -xs."""
    require_program("storescu")
    command = ["storescu", "-v", *options, "-aec", called, "-aet", calling]
    return subprocess.run(
        [*command, "127.0.0.1", str(port), *map(str, files)],
        env=env or os.environ | NODELAY,
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
    )


@dataclass(frozen=True, slots=True)
class Orthanc:
    """A running Orthanc: a PACS with a REST interface to look into."""

    port: int
    url: str

    @property
    def destination(self) -> Destination:
        return peer("ORTHANC", self.port)

    def get(self, path: str) -> bytes:
        with urlopen(f"{self.url}{path}", timeout=30) as response:
            return bytes(response.read())

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def send(self, path: str, body: Any, method: str = "POST") -> Any:
        """Send JSON; return what Orthanc answers, None if nothing."""
        request = Request(f"{self.url}{path}", data=json.dumps(body).encode(), method=method)
        with urlopen(request, timeout=30) as response:
            answer = response.read()
        return json.loads(answer) if answer else None

    def store(self, file: bytes) -> None:
        """Put a DICOM file into it."""
        with urlopen(Request(f"{self.url}/instances", data=file), timeout=30):
            pass

    def delete(self, path: str) -> None:
        with urlopen(Request(f"{self.url}{path}", method="DELETE"), timeout=30):
            pass

    def instances(self, study_instance_uid: str) -> dict[str, str]:
        """Return SOP Instance UID -> Orthanc's id of every instance of a study."""
        query = {
            "Level": "Instance",
            "Query": {"StudyInstanceUID": study_instance_uid},
            "Expand": True,
        }
        request = Request(f"{self.url}/tools/find", data=json.dumps(query).encode())
        with urlopen(request, timeout=30) as response:
            found = json.loads(response.read())
        return {item["MainDicomTags"]["SOPInstanceUID"]: item["ID"] for item in found}

    def file(self, orthanc_id: str) -> bytes:
        """Return an instance as Orthanc holds it."""
        return self.get(f"/instances/{orthanc_id}/file")


@contextmanager
def orthanc(folder: Path, **configuration: Any) -> Iterator[Orthanc]:
    """Run a real Orthanc on loopback, its storage in `folder`; more settings as keywords."""
    require_program("Orthanc")
    folder.mkdir(parents=True, exist_ok=True)
    port, http = free_port(), free_port()
    settings = {
        "Name": "ichnode test PACS",
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "DicomCheckCalledAet": True,
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "TcpNoDelay": True,
        **configuration,
    }
    config = folder / "orthanc.json"
    config.write_text(json.dumps(settings))
    handle = Orthanc(port, f"http://127.0.0.1:{http}")
    with running([shutil.which("Orthanc") or "Orthanc", config], port):
        wait_until(lambda: _answers(handle))
        yield handle


def _answers(server: Orthanc) -> bool:
    try:
        return bool(server.get("/system"))
    except URLError:
        return False


@contextmanager
def mute_peer() -> Iterator[Destination]:
    """Run a peer that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield peer("MUTE", server.getsockname()[1])
