"""`ichnode archive read` on two Ray nodes: what dies costs no study and repeats none."""

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from node.archive.proof import Proof
from node.archive.reading import Plan, Progress, read_catalogue
from node.archive.reading.cluster import ray_at
from node.cli.analyse import analyse
from node.errors import BadConfiguration, Retryable
from node.settings import Settings
from tests.support import ROOT
from tests.support.archived import (
    HEADS,
    at_once,
    broken,
    catalogued,
    deadly,
    predicted,
    slow,
    write_each,
    write_heads,
)
from tests.support.builder import HEAD, uid
from tests.support.peers import wait_until
from tests.support.working import Predictor

pytestmark = pytest.mark.slow
SMALL = HEAD(gaps_mm=(5.0,) * 5, rows=16, columns=16)
"""Too little of a head, which is soon told."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of two Ray nodes of two cores each, which want a token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_enable_worker_prestart", "0")
        patch.setenv("RAY_prestart_worker_first_driver", "0")
        from ray.cluster_utils import Cluster

        found = Cluster()
        for _ in range(2):
            found.add_node(num_cpus=2, include_dashboard=False, object_store_memory=100 << 20)
        yield found.address
        found.shutdown()


def many(root: Path, count: int) -> list[str]:
    """Write so many studies; return their UIDs."""
    names = [f"many{number}" for number in range(count)]
    scans = {name: SMALL(study=name).having(AccessionNumber=name) for name in names}
    write_each(root, {name: scan.build() for name, scan in scans.items()})
    return [uid(name) for name in names]


def read(
    proof: Proof, address: str, make: Any, workers: int = 2, *, failed: bool = False
) -> Progress:
    plan = Plan(address, workers, 0.0, True, at_once(), failed=failed)
    *_, last = read_catalogue(proof, Settings(), plan, make=make)
    return last


def rows(proof: Proof) -> dict[str, dict[str, Any]]:
    """Return the rows by the study's UID; each study has one."""
    pseudonym = proof.pseudonyms().study
    real = {pseudonym(one): one for one in pq.read_table(proof.where)[2].to_pylist()}
    found = pq.read_table(proof.outcomes).to_pylist()
    by_study = {real[row["study"]]: row for row in found}
    assert len(by_study) == len(found)
    return by_study


def test_two_nodes_read_what_analyse_reads(cluster: str, tmp_path: Path) -> None:
    write_heads(tmp_path / "ct", *HEADS)
    proof = catalogued(tmp_path / "ct", tmp_path / "proof")
    last = read(proof, cluster, partial(predicted, Settings()))
    assert (last.done, last.total) == (3, 3)
    found = rows(proof)
    for study in HEADS:
        (analysed,) = analyse(tmp_path / "ct" / study, Settings(), Predictor)  # type: ignore[arg-type]
        row = found[analysed["study_instance_uid"]]
        for name in ("probability", "uncertain", "volume_ml", "limitations", "mimics"):
            assert row[name] == analysed[name], name
        assert row["reason"] == (analysed["reason"] or "")
        assert row["flagged"] == (analysed["priority"] == "SUSPECTED")
        assert proof.image(row["study"]).exists() == (row["probability"] is not None)
    assert {row["result"] for row in found.values()} == {"SUSPECTED", "NO_FINDING", "NOT_ANALYSED"}
    again = read(proof, cluster, partial(predicted, Settings()))
    assert (again.done, again.total, again.before) == (0, 0, 3)


def test_a_study_that_kills_its_workers_is_a_result_and_all_others_are_there_once(
    cluster: str, tmp_path: Path
) -> None:
    studies = many(tmp_path / "ct", 4)
    proof = catalogued(tmp_path / "ct", tmp_path / "proof")
    last = read(proof, cluster, partial(deadly, Settings(), studies[2]))
    found = rows(proof)
    assert set(found) == set(studies) and last.results["KILLED"] == 1
    killed = found.pop(studies[2])
    assert (killed["result"], killed["reason"]) == ("KILLED", "killed its worker")
    assert {row["result"] for row in found.values()} == {"NOT_ANALYSED"}
    again = read(proof, cluster, partial(predicted, Settings()), failed=True)
    assert (again.before, again.done) == (3, 1)
    assert {name: row["result"] for name, row in rows(proof).items()} == dict.fromkeys(
        studies, "NOT_ANALYSED"
    )


def test_a_worker_that_is_killed_while_it_reads_costs_no_study(
    cluster: str, tmp_path: Path
) -> None:
    studies, begun = many(tmp_path / "ct", 4), tmp_path / "begun"
    begun.mkdir()
    proof = catalogued(tmp_path / "ct", tmp_path / "proof")
    plan = Plan(cluster, 2, 0.0, True, at_once())
    victim = None
    for _ in read_catalogue(proof, Settings(), plan, make=partial(slow, Settings(), begun)):
        files = list(begun.iterdir())
        if victim is None and files and files[0].read_text():
            victim = int(files[0].read_text())
            os.kill(victim, signal.SIGKILL)
    found = rows(proof)
    assert set(found) == set(studies)
    assert {row["result"] for row in found.values()} == {"NOT_ANALYSED"}
    assert len({file.read_text() for file in begun.iterdir()}) == 3  # another took its place
    assert len(list(begun.iterdir())) == 5  # and read its study once more


def test_a_driver_that_is_killed_loses_no_finished_study_and_repeats_none(
    cluster: str, tmp_path: Path
) -> None:
    studies, begun = many(tmp_path / "ct", 4), tmp_path / "begun"
    begun.mkdir()
    proof = catalogued(tmp_path / "ct", tmp_path / "proof")
    arguments = ("tests.support.archived", cluster, str(proof.root), str(begun))
    journal = proof.outcomes / "_journal.jsonl"
    driver = subprocess.Popen([sys.executable, "-m", *arguments], cwd=ROOT)
    try:
        wait_until(lambda: journal.exists() and journal.read_text().count("\n") >= 2, 60)
    finally:
        driver.kill()
        driver.wait()
    finished = {row["study"]: row["read_at"] for row in map(json.loads, whole_lines(journal))}
    assert len(finished) >= 2
    read(proof, cluster, partial(slow, Settings(), begun, 0.0))
    found = rows(proof)
    assert set(found) == set(studies)
    for row in found.values():
        assert finished.get(row["study"], row["read_at"].isoformat()) == row["read_at"].isoformat()


def whole_lines(file: Path) -> list[str]:
    return file.read_text().split("\n")[:-1]


def test_networks_that_cannot_be_loaded_end_the_reading_and_say_why(
    cluster: str, tmp_path: Path
) -> None:
    many(tmp_path / "ct", 1)
    proof = catalogued(tmp_path / "ct", tmp_path / "proof")
    with pytest.raises(BadConfiguration, match="no such bundle; 0 of 1 studies are read"):
        read(proof, cluster, broken, workers=1)


def test_who_has_no_token_is_not_let_in(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    program = (
        "import sys; from node.archive.reading.cluster import ray_at\n"
        "with ray_at(sys.argv[1]): print('in')"
    )
    tried = subprocess.run(
        [sys.executable, "-c", program, cluster],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=60,
    )
    assert tried.returncode != 0 and "in\n" not in tried.stdout
    assert "does not let us in: " in tried.stderr and "its token" in tried.stderr


def test_a_ray_that_does_not_start_in_time_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a busy machine Ray gives up after 30 s, by an error of no class of its own."""

    def gives_up(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nmore")

    monkeypatch.setattr("ray.init", gives_up)
    told = r"^no Ray here: The current node timed out during startup\.$"
    with pytest.raises(Retryable, match=told), ray_at(""):
        pass
