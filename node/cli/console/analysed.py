"""One study that `ichnode analyse` has read, in a few lines."""

from collections.abc import Mapping
from typing import Any

from node.cli.console.worklist import PRIORITY_STYLES
from node.visible import visible
from node.wording import UNCERTAIN


def summary(study: Mapping[str, Any]) -> str:
    """Return one study's object of `ichnode analyse` in a few lines of text."""
    lines = [f"{PRIORITY_STYLES[study['priority']][0]}  study {study['study_instance_uid']}"]
    if study["reason"]:
        lines.append(f"  {study['reason']}")
    if study["probability"] is not None:
        lines.append(
            f"  probability {study['probability']:.2f}, volume {study['volume_ml'] or 0:.1f} mL, "
            f"{study['bundle']}"
        )
        lines += [f"  {name}: {p:.2f}" for name, p in study["subtypes"].items()]
    if study["uncertain"]:
        lines.append(f"  {UNCERTAIN} ({study['uncertainty']:.2f})")
    if study["key_slice_sop_instance_uid"]:
        lines.append(f"  look first at {study['key_slice_sop_instance_uid']}")
    lines += [f"  may look like blood: {text}" for text in study["mimics"]]
    lines += [f"  limitation: {text}" for text in study["limitations"]]
    return "\n".join(map(visible, lines))
