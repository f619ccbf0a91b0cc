"""The comparison as one HTML file, by the style and the parts of the acceptance report."""

from collections.abc import Mapping, Sequence
from typing import Any

from node.archive.acceptance import key_pictures, page_templates
from node.archive.comparison.pairs import Flip
from node.archive.proof import Proof

MOST_SHOWN = 24
"""Studies of one kind of change that are shown with pictures; all are named in the JSON. Chosen."""

DIMENSIONS = {
    "scanner": "Scanner",
    "kernel": "Kernel",
    "thickness": "Slice thickness",
    "age": "Age",
    "place": "Place of order",
}


def comparison_page(told: Mapping[str, Any], old: Proof, new: Proof) -> str:
    """Return the comparison as HTML, with the key slices of both proofs.

    Parameters
    ----------
    told
        As `comparison` returns it.
    """
    rows = {row["study"]: row for row in told["rows"]}
    names = [name for flip in Flip for name in told["flips"][flip][:MOST_SHOWN]]
    templates = page_templates("node.archive.comparison")
    templates.filters |= {"points": _points, "chance": _chance}
    return templates.get_template("comparison.html").render(
        told=told,
        rows=rows,
        old_pictures=_pictures(old, names, rows, "old"),
        new_pictures=_pictures(new, names, rows, "new"),
        MOST_SHOWN=MOST_SHOWN,
        DIMENSIONS=DIMENSIONS,
    )


def _pictures(
    proof: Proof, names: Sequence[str], rows: Mapping[str, Any], side: str
) -> dict[str, str]:
    """Return each study's key slice as a data URL, with the outline if there is one."""
    keys = {name: rows[name][side]["key_slice"] for name in names}
    return {study: urls[-1] for study, urls in key_pictures(proof, keys).items() if urls}


def _points(share: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * share:+.1f}"


def _chance(p: float) -> str:
    """Return a p-value as papers print it."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"
