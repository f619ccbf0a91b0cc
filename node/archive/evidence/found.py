"""How many studies an archive had, and why some were not taken: the catalogue, counted by study."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from node.archive.proof import Proof
from node.errors import Permanent


@dataclass(frozen=True, slots=True)
class Found:
    """The studies of a catalogue.

    Attributes
    ----------
    studies
        Whether a series of each was taken, by its pseudonym.
    not_taken
        How many studies were not taken, by the reason of most of their series.
    """

    studies: Mapping[str, bool]
    not_taken: Mapping[str, int]


def read_found(proof: Proof) -> Found | None:
    """Return what the catalogue lists; None without a catalogue.

    Raises
    ------
    Permanent
        If it is empty or cannot be read.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table

    file = proof.catalogue
    if not file.exists():
        return None
    try:
        rows = read_table(file, columns=["study", "taken", "why"]).to_pylist()
    except (ArrowException, OSError, KeyError) as error:
        raise Permanent(
            f"{file} cannot be read ({error}): ichnode archive find, called as before, "
            "writes it anew"
        ) from error
    if not rows:
        raise Permanent(
            f"{file} is empty: `ichnode archive find` found no study; look at its source and dates"
        )
    taken: dict[str, bool] = {}
    why: dict[str, Counter[str]] = {}
    for row in rows:
        study = str(row["study"])
        taken[study] = taken.get(study, False) or bool(row["taken"])
        why.setdefault(study, Counter())[str(row["why"] or "no reason is told")] += 1
    reasons = Counter(why[study].most_common(1)[0][0] for study, was in taken.items() if not was)
    return Found(taken, dict(reasons.most_common()))
