"""The manifest of a case: what its result was made from and by, and what came of it.

Each stage leaves a note of what it ran with, because another version may run a stage again long
after the stage before it. When the report is written, the manifest puts these notes together with
the sources and the digests of all that was made. A replay compares its manifest with the one that
it finds. `node.case_folder` keeps the notes and the manifest on disk.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from node.arrive.spool import StoredBytes
from node.case_folder import CaseFolder
from node.depot import Depot
from node.errors import Permanent
from node.records import Case, ReportObject, SeriesPlan, SliceRef
from node.states import State

CODECS = ("pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls")
PACKAGES: Mapping[str, Sequence[str]] = {
    "assemble": ("ichnode", "numpy", "pydicom"),
    "triage": ("ichnode", "numpy", "openvino", "pydicom", "scipy", "torch", *CODECS),
    "report": ("ichnode", "highdicom", "numpy", "pillow", "pydicom", *CODECS),
}
"""The packages that the result of each stage depends on, in the order of the stages."""

RESULT = ("priority", "reason_code", "reason", "limitations", "objects", "files")
"""The keys of a manifest that are the result; the other keys say how it came about."""


# --- what each stage ran with --------------------------------------------------------------------


def note(folder: CaseFolder, stage: str, **facts: object) -> None:
    """Leave in the case's folder what a stage runs with: package versions, and these facts."""
    folder.note(stage, {"versions": _versions(stage), **facts})


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


def write(
    folder: CaseFolder,
    case: Case,
    plan: SeriesPlan,
    objects: Iterable[ReportObject],
    timings: Mapping[str, str | None],
) -> dict[str, Any]:
    """Write and return the manifest of a case whose report lies in its `folder`.

    Parameters
    ----------
    timings
        When each step of the case was done, ISO 8601 UTC; None if it was not done.
    """
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
        "stages": folder.notes(),
        "timings": dict(timings),
        "objects": {Path(item.path).name: item.sop_instance_uid for item in objects},
        "files": folder.digests(with_findings=case.state is State.TRIAGED),
    }
    folder.write_manifest(manifest)
    return manifest


def _sources(refs: Iterable[SliceRef]) -> dict[str, dict[str, Any]]:
    """Return the path, sha256 and 1-based frames of each source object, by SOPInstanceUID."""
    found: dict[str, dict[str, Any]] = {}
    for ref in refs:
        entry = {"path": ref.path, "sha256": ref.sha256, "frames": []}
        found.setdefault(ref.sop_instance_uid, entry)["frames"].append(ref.frame_number)
    return found


# --- replay --------------------------------------------------------------------------------------


def require_sources(plan: SeriesPlan, depot: Depot) -> None:
    """Make sure that each planned object is on disk as it was received.

    Raises
    ------
    Permanent
        If one is lost or changed; the message names it.
    """
    stored_bytes = StoredBytes(depot)
    for path, sha256 in {ref.path: ref.sha256 for ref in (*plan.slices, *plan.copies)}.items():
        try:
            found = stored_bytes.altered(path, sha256)
        except FileNotFoundError:
            raise Permanent(f"{path}: is on disk no more; send the series again") from None
        if found is not None:
            raise Permanent(
                f"{path}: changed on disk since it was received (sha256 {found}); check the disk "
                "and send the series again"
            )


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return "same result" or "other result", then everything that differs, joined by "; "."""
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
