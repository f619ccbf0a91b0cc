"""What the doctor looks at of bundles: the one in force, and the one in its shadow."""

from collections.abc import Iterator

from node.cases.detector import load_detector, with_release
from node.cli.check import Check
from node.clock import utc_now
from node.errors import IchnodeError
from node.settings import Settings, bundle_name
from node.shadow.standing import standing
from node.worklist import Release, Released, Worklist


def check_detector(settings: Settings) -> Iterator[Check]:
    """Check that the bundle in force loads and gives its golden output."""
    try:
        with Worklist(settings.url) as worklist:
            release = worklist.releases.newest()
    except IchnodeError:
        release = None  # as the check of the database says
    if release is not None and not release.by_settings:
        yield _released(release, settings)
    try:
        detector = load_detector(with_release(settings, release))
    except IchnodeError as error:
        yield Check("bad", "detector", str(error))
        return
    rules = detector.settings
    found = f"{detector.name} on {detector.runtime}, golden output reproduced"
    point = f"suspected from {rules.operating_point:.3f} on ({rules.point})"
    yield Check("ok", "detector", f"{found}; {point}")


def _released(release: Release, settings: Settings) -> Check:
    """Say which bundle stands above the settings, and whether they name another one."""
    what = "promoted" if release.what is Released.PROMOTED else "rolled back to"
    said = f"{release.bundle} {what} on {release.at.astimezone():%d %b %Y %H:%M} by {release.who}"
    named = bundle_name(settings.triage.bundle)
    if named == release.bundle.folder:
        return Check("ok", "bundle in force", said)
    remedy = f'set triage.bundle = "{release.bundle.folder}", or `ichnode shadow rollback`'
    return Check("note", "bundle in force", f"{said}; the settings name {named} in vain: {remedy}")


def check_shadow(settings: Settings) -> Iterator[Check]:
    """Say whether another bundle reads in shadow, and how far it is."""
    if not settings.shadow.on:
        return
    with Worklist(settings.url) as worklist:
        found = standing(settings, worklist, utc_now())
    if found.trouble:
        yield Check("bad", "shadow", found.trouble)
    elif found.is_live:
        yield Check("note", "shadow", "it is the live bundle: set shadow.on = false, or another")
    elif found.is_done:
        done = f"{found.other} has read {found.read} studies: promote it, or set shadow.on = false"
        yield Check("note", "shadow", done)
    else:
        yield Check("ok", "shadow", f"{found.other} has read {found.read} of {found.wanted}")
