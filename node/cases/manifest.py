"""The manifest of a case: what its result was made from and by, and what came of it.

Each stage notes what it ran with (assemble.json, triage.json, report.json in the case folder), for
a stage may be run again long after the one before it, by another version. When the report is
written, manifest.json puts the notes together with the sources and the digests of all that was
made; a replay is compared with the manifest that it finds.

What was committed is whole on disk (`node.case_folder.make_durable`): a file that is cut off
belongs to an attempt that came to nothing, and counts as absent.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from hashlib import file_digest
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from node.errors import Permanent
from node.records import Case, ReportObject, SeriesPlan, SliceRef

MANIFEST = "manifest.json"
MADE = ("findings.json", "mask.npz", "report/*")

CODECS = ("pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls")
PACKAGES: Mapping[str, Sequence[str]] = {
    "assemble": ("ichnode", "numpy", "pydicom"),
    "triage": ("ichnode", "numpy", "openvino", "pydicom", "scipy", "torch", *CODECS),
    "report": ("ichnode", "highdicom", "numpy", "pillow", "pydicom", *CODECS),
}
"""What each stage's result depends on, in the order of the stages."""

RESULT = ("priority", "reason_code", "reason", "limitations", "objects", "files")
"""The part of a manifest that is the result; the rest is how it came about."""


# --- what each stage ran with --------------------------------------------------------------------


def note(folder: Path, stage: str, **facts: object) -> None:
    """Leave in the case `folder` what a stage runs with; notes of later stages are out of date."""
    stages = list(PACKAGES)
    for later in stages[stages.index(stage) :]:
        (folder / f"{later}.json").unlink(missing_ok=True)
    noted = {"versions": _versions(stage), **facts}
    (folder / f"{stage}.json").write_text(json.dumps(noted, indent=1))


@cache
def _versions(stage: str) -> Mapping[str, str]:
    found = {}
    for package in PACKAGES[stage]:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


# --- the manifest --------------------------------------------------------------------------------


def read(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of an earlier report of this case, None if there is none."""
    return _read(folder / MANIFEST)


def write(
    folder: Path,
    case: Case,
    plan: SeriesPlan,
    objects: Iterable[ReportObject],
    timings: Mapping[str, str | None],
) -> dict[str, Any]:
    """Write and return the manifest of a case whose report lies in its `folder`.

    Parameters
    ----------
    timings
        When each step of the case was done, ISO 8601 UTC; None what is not done.
    """
    notes = {stage: _read(folder / f"{stage}.json") for stage in PACKAGES}
    manifest = {
        "case": case.id,
        "study_instance_uid": plan.study_instance_uid,
        "series_instance_uid": plan.series_instance_uid,
        "priority": case.priority,
        "reason_code": case.reason_code,
        "reason": case.reason,
        "decision": plan.decision,
        "limitations": list(plan.limitations),
        "sources": _sources((*plan.slices, *plan.copies)),
        "stages": {stage: noted for stage, noted in notes.items() if noted is not None},
        "timings": dict(timings),
        "objects": {Path(item.path).name: item.sop_instance_uid for item in objects},
        "files": _digests(folder, with_findings=case.reason_code is None),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    return manifest


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return values


def _sources(refs: Iterable[SliceRef]) -> dict[str, dict[str, Any]]:
    """Return path, sha256 and frames (from 1) of each source object, by SOPInstanceUID."""
    found: dict[str, dict[str, Any]] = {}
    for ref in refs:
        entry = {"path": ref.path, "sha256": ref.sha256, "frames": []}
        found.setdefault(ref.sop_instance_uid, entry)["frames"].append(ref.frame_number)
    return found


def _digests(folder: Path, *, with_findings: bool) -> dict[str, str]:
    """Return the sha256 of each file made, by its path in the case folder."""
    patterns = MADE if with_findings else MADE[-1:]
    made = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in made}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


# --- replay --------------------------------------------------------------------------------------


def require_sources(plan: SeriesPlan, root: Path) -> None:
    """Make sure that each planned object is on disk as it was received.

    Raises
    ------
    Permanent
        If one is lost or changed; the message names it.
    """
    for path, sha256 in {ref.path: ref.sha256 for ref in (*plan.slices, *plan.copies)}.items():
        try:
            found = _sha256(root / path)
        except FileNotFoundError:
            raise Permanent(f"{path}: is on disk no more; send the series again") from None
        if found != sha256:
            raise Permanent(
                f"{path}: changed on disk since it was received (sha256 {found}); check the disk "
                "and send the series again"
            )


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return "same result" or "other result", and all that differs between two manifests."""
    result = [line for key in RESULT for line in _differences(key, before, after)]
    circumstances = [*_other_sources(before, after), *_other_stages(before, after)]
    return "; ".join(("other result" if result else "same result", *result, *circumstances))


def _differences(key: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    prefix = "" if key == "files" else key
    old, new = (dict(_flat(prefix, manifest.get(key))) for manifest in (before, after))
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield f"{name} is new"
        elif name not in new:
            yield f"{name} is gone"
        elif key == "files" and old[name] != new[name]:
            yield f"{name} differs"
        elif old[name] != new[name]:
            yield f"{name} is {new[name]}, was {old[name]}"


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings under their names, joined by blanks."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _flat(f"{name} {key}".strip(), part)
    else:
        yield name, value


def _other_stages(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    old, new = before["stages"], after["stages"]
    for stage in PACKAGES:
        if stage in old and stage in new:
            yield from _differences(stage, old, new)
        elif stage in old or stage in new:
            yield f"{stage} ran {'now' if stage in new else 'before'} only"


def _other_sources(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    old, new = before["sources"], after["sources"]
    both = old.keys() & new.keys()
    counts = {
        "more": len(new.keys() - old.keys()),
        "fewer": len(old.keys() - new.keys()),
        "changed": sum(old[uid]["sha256"] != new[uid]["sha256"] for uid in both),
    }
    yield from (f"source images {what}: {count}" for what, count in counts.items() if count)
