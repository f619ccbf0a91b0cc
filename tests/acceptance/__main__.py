"""From an archive to its acceptance report, as a department goes: `make acceptance`.

Orthanc holds the archive; the first half of its days is asked for by C-FIND and C-GET, the second
by DICOMweb. The commands are those of docs/archive.md. What a person decides is the truth of each
head, by keys, in Chromium. Time and memory of each command are printed.
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree

from playwright.sync_api import Page, expect

from node.archive.acceptance import EXAMPLE
from node.archive.adjudication import Desk, read_decisions, read_sample
from node.archive.evidence import read_joined
from node.archive.proof import Proof
from tests.acceptance.hospital import FIRST_DAY, Study, studies
from tests.support import ROOT
from tests.support.browsing import chromium
from tests.support.peers import Orthanc, orthanc

WEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
OPTIONS = {
    "Plugins": [WEB],
    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    "DicomAlwaysAllowFind": True,
    "DicomAlwaysAllowGet": True,
}
SIZE = {"width": 1400, "height": 900}
LIMITS = EXAMPLE.replace("bleeds = 100", "bleeds = 10").replace("studies = 1000", "studies = 100")
HALF = (FIRST_DAY + timedelta(days=10)).date()
PERSON = "anna"
KEYS = {
    "epidural": "e",
    "subdural": "d",
    "intraparenchymal": "p",
    "subarachnoid": "s",
    "intraventricular": "v",
}


def main(count: int, actors: int, folder: Path) -> None:
    """Go the whole way with so many studies; the folder is made anew."""
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with orthanc(folder / "orthanc", **OPTIONS) as server:
        hospital = _filled(server, count, folder)
        began = time.monotonic()
        proof, gently = Proof(folder / "proof"), ("--per-minute", "600")
        settings = _settings(server, folder)
        first_day, day_before = str(FIRST_DAY.date()), str(HALF - timedelta(days=1))
        _run(
            "find",
            "pacs",
            proof.root,
            "--since",
            first_day,
            "--until",
            day_before,
            *gently,
            *settings,
        )
        proof.limits.write_text(LIMITS)
        _run(
            "find",
            "web",
            proof.root,
            "--since",
            str(HALF),
            "--until",
            "2026-11-30",
            *gently,
            *settings,
        )
        _run("read", proof.root, "--actors", actors, *gently, *settings, status=(0, 1))
        _run("label", _reports(hospital, folder), "--out", proof.labels)
        _adjudicated(proof, hospital, folder)
        _run("report", proof.root, "--limits", proof.limits, status=(0, 1))
        _run("export", proof.root, folder / "export", *gently, *settings)
        _tell(f"the whole way: {(time.monotonic() - began) / 60:.1f} minutes for {count} studies")
    _show(proof, folder)
    _check(proof, hospital)


def _filled(server: Orthanc, count: int, folder: Path) -> list[Study]:
    """Send the studies to Orthanc; they are the hospital's."""
    began, found = time.monotonic(), []
    for study in studies(count, folder / "ct"):
        for file in study.files:
            server.store(file.read_bytes())
            file.unlink()
        found.append(study)
    bleeding = sum(study.bleeds for study in found)
    _tell(
        f"an archive of {count} studies, {bleeding} of which bleed: "
        f"{time.monotonic() - began:.0f} s to draw and send"
    )
    return found


def _settings(server: Orthanc, folder: Path) -> tuple[str, str]:
    file = folder / "ichnode.toml"
    file.write_text(
        f'data_dir = "{folder / "node"}"\n'
        f'[[pull.sources]]\nname = "pacs"\nhow = "get"\nae_title = "ORTHANC"\n'
        f'host = "127.0.0.1"\nport = {server.port}\n'
        f'[[pull.sources]]\nname = "web"\nhow = "web"\nurl = "{server.url}/dicom-web"\n'
    )
    return "--config", str(file)


def _reports(hospital: Sequence[Study], folder: Path) -> Path:
    file = folder / "reports.csv"
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(("accession", "report"))
        rows.writerows((study.identity.accession_number, study.report) for study in hospital)
    return file


def _run(command: str, *options: object, status: Sequence[int] = (0,)) -> None:
    """Run a command of the archive, as an admin does."""
    began = time.monotonic()
    line = [sys.executable, "-m", "node.cli", "archive", command, *map(str, options)]
    done = subprocess.run(line, check=False)
    _tell(f"archive {command}: {time.monotonic() - began:.0f} s")
    if done.returncode not in status:
        sys.exit(f"archive {command} ended with {done.returncode}")


def _adjudicated(proof: Proof, hospital: Sequence[Study], folder: Path) -> None:
    """Have a person decide all that is asked, blinded, in a browser."""
    began = time.monotonic()
    names = proof.pseudonyms()
    truth = {names.study(study.identity.study_instance_uid): study for study in hospital}
    with _page(proof) as page:
        sample = read_sample(proof.sample)
        assert sample is not None
        found = read_joined(proof).studies
        desk = Desk(proof, found, sample, lambda: datetime.now(UTC), who=PERSON, blind=True)
        for place in range(len(desk)):
            expect(page.locator("main")).to_have_attribute("data-place", str(place))
            study = truth[desk.study(place).name]
            page.keyboard.press("b" if study.bleeds else "n")
            for name in study.subtypes:
                page.keyboard.press(KEYS[name])
            if place == 0:
                page.screenshot(path=folder / "adjudicate.png")
            page.keyboard.press("Enter")
            expect(page.locator("#progress")).to_contain_text(f"{place + 1} of")
    _tell(f"archive adjudicate: {time.monotonic() - began:.0f} s for {len(desk)} studies by keys")


@contextmanager
def _page(proof: Proof) -> Iterator[Page]:
    """Run `ichnode archive adjudicate`, and open the address that it prints."""
    line = [sys.executable, "-m", "node.cli", "archive", "adjudicate", str(proof.root), "--blind"]
    with (
        subprocess.Popen(
            [*line, "--who", PERSON, "--agreements", "10"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        ) as command,
        chromium() as browser,
    ):
        assert command.stdout is not None
        try:
            url = next(line.strip() for line in command.stdout if line.startswith("http"))
            page = browser.new_context(viewport=SIZE).new_page()  # type: ignore[arg-type]
            page.goto(url)
            yield page
        finally:
            command.send_signal(signal.SIGINT)


def _show(proof: Proof, folder: Path) -> None:
    """Keep pictures of the report."""
    with chromium() as browser:
        page = browser.new_context(viewport=SIZE).new_page()  # type: ignore[arg-type]
        page.goto((proof.root / "report.html").as_uri())
        page.screenshot(path=folder / "report.png", full_page=True)
    _tell(f"look at {folder}: adjudicate.png, report.png, proof/report.html, export/")


def _check(proof: Proof, hospital: Sequence[Study]) -> None:
    """Fail unless each study is in the flow once, and what people settled is the truth."""
    joined = read_joined(proof)
    assert len(joined.studies) == len(hospital), f"{len(joined.studies)} of {len(hospital)} read"
    assert read_decisions(proof.decisions).standing(), "nobody decided anything"
    told = json.loads((proof.root / "report.json").read_text())
    _tell(json.dumps(told["flow"], indent=1)[:2000])


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "acceptance")
    given = parser.parse_args()
    main(given.studies, given.actors, given.folder)
