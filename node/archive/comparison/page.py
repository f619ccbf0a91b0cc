"""The comparison as one HTML file, by the style and the parts of the acceptance report."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from node.archive.acceptance import key_pictures, page_templates
from node.archive.proof import Proof
from node.wording import Flip

MOST_SHOWN = 24
"""Studies of one kind of change that are shown with pictures; all are named in the JSON. Chosen."""

DIMENSIONS = {
    "scanner": "Scanner",
    "kernel": "Kernel",
    "thickness": "Slice thickness",
    "age": "Age",
    "place": "Place of order",
}


Pictures = tuple[Mapping[str, str], Mapping[str, str]]
"""The key slices of the old side and of the new one: data URLs by study, where there is one."""
PSEUDONYMS = "Studies and patients have pseudonyms."


def comparison_page(
    told: Mapping[str, Any],
    pictures: Callable[[Sequence[str]], Pictures],
    *,
    pages: Mapping[str, str] | None = None,
    named: str = PSEUDONYMS,
) -> str:
    """Return the comparison as HTML.

    Parameters
    ----------
    told
        As `comparison` returns it.
    pictures
        Returns the key slices of studies.
    pages
        Where more is shown of studies; None if nowhere.
    named
        What studies are called, in a sentence.
    """
    rows = {row["study"]: row for row in told["rows"]}
    names = [name for flip in Flip for name in told["flips"][flip][:MOST_SHOWN]]
    old_pictures, new_pictures = pictures(names)
    templates = page_templates("node.archive.comparison")
    templates.filters |= {"points": _points, "chance": _chance}
    return templates.get_template("comparison.html").render(
        told=told,
        rows=rows,
        old_pictures=old_pictures,
        new_pictures=new_pictures,
        pages=pages or {},
        named=named,
        MOST_SHOWN=MOST_SHOWN,
        DIMENSIONS=DIMENSIONS,
    )


def pictures_of(told: Mapping[str, Any], old: Proof, new: Proof, names: Sequence[str]) -> Pictures:
    """Return the key slices of studies in both proofs, with the outline if there is one."""
    rows = {row["study"]: row for row in told["rows"]}
    return _pictures(old, names, rows, "old"), _pictures(new, names, rows, "new")


def _pictures(
    proof: Proof, names: Sequence[str], rows: Mapping[str, Any], side: str
) -> dict[str, str]:
    keys = {name: rows[name][side]["key_slice"] for name in names}
    return {study: urls[-1] for study, urls in key_pictures(proof, keys).items() if urls}


def _points(share: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * share:+.1f}"


def _chance(p: float) -> str:
    """Return a p-value as papers print it."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"
