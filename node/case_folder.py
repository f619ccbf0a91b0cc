"""A case's folder: the names, the digests and the durability of the files of a case.

    series.json                  the plan of the series (`node.records.SeriesPlan`)
    read.json                    the plan as it was read, where that is not all of it: images were
                                 set aside, or different images lie at one position
    findings.json  mask.npz      what the detector found (`models.findings.Findings`)
    assemble.json  triage.json   what each stage ran with: the notes, which `node.cases.manifest`
    report.json                  fills
    manifest.json                what the result was made from and by
    messages/NUMBER.json         what was said of its study (`node.news.News`)
    report/KIND.dcm              the objects of the report: seg.dcm, sr.dcm, text.dcm, capture.dcm
    report/capture.png           the picture for the page

A stage calls `make_durable` before its outcome is committed. So what was committed is whole on
disk, and a file that is cut off belongs to an attempt that came to nothing: it counts as absent.
"""

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from models.findings import Findings
from node.disk import sha256_of, sync_file, sync_folder
from node.records import SeriesPlan

STAGES = ("assemble", "triage", "report")
"""The stages that leave a note, in the order in which they run."""

_PLAN = "series.json"
_READ = "read.json"
_FINDINGS = "findings.json"
_MASKS = "mask.npz"
_MANIFEST = "manifest.json"
_REPORT = "report"
_MESSAGES = "messages"
_PICTURE = "capture.png"


def case_folder(case_id: int) -> str:
    """Return where a case's files lie, relative to the data folder."""
    return f"cases/{case_id}"


@dataclass(frozen=True, slots=True)
class CaseFolder:
    """The files of one case.

    Attributes
    ----------
    root
        The data folder.
    relative
        Where the case's folder lies below it: `Case.folder`.
    """

    root: Path
    relative: str

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.root / self.relative

    def make(self) -> None:
        """Make the folder, if it is not there yet."""
        self.path.mkdir(parents=True, exist_ok=True)

    def make_durable(self) -> None:
        """Make everything in the folder, and the folder itself, outlive a power cut."""
        for path in sorted(self.path.rglob("*"), reverse=True):
            sync_folder(path) if path.is_dir() else sync_file(path)
        for entry in (self.path, self.path.parent, self.path.parent.parent):
            sync_folder(entry)

    # --- the plan of the series ------------------------------------------------------------------

    def write_plan(self, plan: SeriesPlan) -> None:
        """Leave the plan of the series; what was read of an older plan is outdated."""
        (self.path / _READ).unlink(missing_ok=True)
        plan.write(self.path / _PLAN)

    def read_plan(self) -> SeriesPlan | None:
        """Return the plan of the series, None if there is none."""
        with suppress(FileNotFoundError, ValueError):
            return self.require_plan()
        return None

    def require_plan(self) -> SeriesPlan:
        """Return the plan that the stage before has committed.

        Raises
        ------
        FileNotFoundError, ValueError
            If it is gone or damaged.
        """
        return SeriesPlan.read(self.path / _PLAN)

    def write_plan_as_read(self, plan: SeriesPlan) -> None:
        """Leave the plan as it was read. The plan that is there stays: a replay starts from it."""
        (self.path / _READ).unlink(missing_ok=True)
        if plan != self.read_plan():
            plan.write(self.path / _READ)

    def read_plan_as_read(self) -> SeriesPlan | None:
        """Return the plan as it was read, None if there is no plan."""
        with suppress(FileNotFoundError, ValueError):
            return self.require_plan_as_read()
        return None

    def require_plan_as_read(self) -> SeriesPlan:
        """Return the plan as it was read; the plan itself if nothing else is known.

        Raises
        ------
        FileNotFoundError, ValueError
            If it is gone or damaged.
        """
        as_read = self.path / _READ
        return SeriesPlan.read(as_read) if as_read.exists() else self.require_plan()

    # --- what the detector found -----------------------------------------------------------------

    def save_findings(self, findings: Findings) -> None:
        """Leave what the detector found; the arrays first, so that the JSON speaks for both."""
        findings.save(self.path / _FINDINGS, self.path / _MASKS)

    def read_findings(self) -> Findings | None:
        """Return what the detector found, None if the series was not read."""
        return self.require_findings() if (self.path / _FINDINGS).exists() else None

    def require_findings(self) -> Findings:
        """Return the findings that the stage before has committed.

        Raises
        ------
        FileNotFoundError, ValueError
            If they are gone or damaged.
        """
        return Findings.load(self.path / _FINDINGS, self.path / _MASKS)

    def read_values(self) -> dict[str, Any] | None:
        """Return the findings without their arrays as plain JSON; None if there are none."""
        return _read_json(self.path / _FINDINGS)

    def read_mask(self) -> NDArray[np.bool_] | None:
        """Return the (z, y, x) mask of the findings alone; None if there is none."""
        try:
            with (self.path / _MASKS).open("rb") as file, np.load(file) as held:
                mask: NDArray[np.bool_] = held["mask"]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None
        return mask

    def written_at(self) -> int | None:
        """Return when plan and findings were written last, in ns; None if there is no plan."""
        with suppress(OSError):
            times = [(self.path / _PLAN).stat().st_mtime_ns]
            with suppress(OSError):
                times.append((self.path / _FINDINGS).stat().st_mtime_ns)
            return max(times)
        return None

    # --- notes and manifest ----------------------------------------------------------------------

    def note(self, stage: str, facts: Mapping[str, object]) -> None:
        """Leave what a stage runs with, and delete the notes of later stages: they are outdated."""
        for later in STAGES[STAGES.index(stage) :]:
            self._note(later).unlink(missing_ok=True)
        _write_json(self._note(stage), facts)

    def notes(self) -> dict[str, dict[str, Any]]:
        """Return the notes that are there, by stage, in the order of the stages."""
        found = {stage: _read_json(self._note(stage)) for stage in STAGES}
        return {stage: noted for stage, noted in found.items() if noted is not None}

    def _note(self, stage: str) -> Path:
        return self.path / f"{stage}.json"

    def write_manifest(self, manifest: Mapping[str, object]) -> None:
        """Leave the manifest of a case whose report lies here."""
        _write_json(self.path / _MANIFEST, manifest)

    def read_manifest(self) -> dict[str, Any] | None:
        """Return the manifest of an earlier report of this case, None if there is none."""
        return _read_json(self.path / _MANIFEST)

    def digests(self, *, with_findings: bool) -> dict[str, str]:
        """Return the SHA-256 of each file that was made, by its path in this folder.

        Parameters
        ----------
        with_findings
            Whether the findings belong to the result; a case that is not analysed may have those
            of an earlier run.
        """
        patterns = (_FINDINGS, _MASKS) if with_findings else ()
        made = (path for name in (*patterns, f"{_REPORT}/*") for path in self.path.glob(name))
        return {path.relative_to(self.path).as_posix(): sha256_of(path) for path in sorted(made)}

    # --- messages --------------------------------------------------------------------------------

    def write_message(self, name: str, content: bytes) -> None:
        """Leave what was said of the study, on disk for good, under a name in `messages`.

        Raises
        ------
        OSError
            If the disk is full or fails.
        """
        folder = self.path / _MESSAGES
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{name}.partial"
        partial.write_bytes(content)
        sync_file(partial)
        partial.rename(folder / name)
        for entry in (folder, self.path, self.path.parent, self.path.parent.parent):
            sync_folder(entry)

    # --- the report ------------------------------------------------------------------------------

    def replace_report(self, objects: Mapping[str, bytes], picture: bytes | None) -> None:
        """Leave just these files as the report, each of them whole.

        Parameters
        ----------
        objects
            DICOM objects in the file format (PS3.10), by kind, such as "sr".
        picture
            The capture as PNG, None if the case has none.

        Raises
        ------
        OSError
            If the disk is full or fails.
        """
        files = {_object_name(kind): content for kind, content in objects.items()}
        if picture is not None:
            files[_PICTURE] = picture
        self.report.mkdir(parents=True, exist_ok=True)
        for stale in self.report.iterdir():
            if stale.name not in files:
                stale.unlink()
        for name, content in files.items():
            partial = self.report / f"{name}.partial"
            partial.write_bytes(content)
            partial.rename(self.report / name)

    @property
    def report(self) -> Path:
        """The folder of the report's files."""
        return self.path / _REPORT

    @property
    def picture(self) -> Path:
        """The capture as PNG; the file is there only if the series was read and reported."""
        return self.report / _PICTURE

    def object_path(self, kind: str) -> str:
        """Return where an object of the report lies, relative to the data folder."""
        return (Path(self.relative) / _REPORT / _object_name(kind)).as_posix()

    def copy_report(self, to: Path) -> None:
        """Copy the files of the report, if there is one, into the folder `to`."""
        if self.report.is_dir():
            shutil.copytree(self.report, to, dirs_exist_ok=True)


def _object_name(kind: str) -> str:
    return f"{kind}.dcm"


def _write_json(path: Path, values: Mapping[str, object]) -> None:
    path.write_text(json.dumps(values, indent=1))


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return values
