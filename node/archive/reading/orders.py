"""Which studies of a catalogue are to be read."""

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq

from node.archive.proof import Proof
from node.errors import BadConfiguration


@dataclass(slots=True)
class Order:
    """A study to be read: its pseudonyms, and where it is.

    Attributes
    ----------
    paths
        Its files, those of series that are not taken too: the node weighs all of a study. None of
        a server's.
    """

    study: str
    patient: str
    accession: str
    study_instance_uid: str
    source: str
    paths: tuple[str, ...] = ()
    taken: bool = False
    killed: int = field(default=0, compare=False)
    """How many workers ended while they read it."""


def orders_of(proof: Proof, done: Container[str] = ()) -> list[Order]:
    """Return the studies that have a series that is taken and are not done, by pseudonym.

    Pseudonyms have no order of their own: whenever the reading ends, what was read is a random
    sample of the catalogue.

    Raises
    ------
    BadConfiguration
        If there is no catalogue, or it lacks what its pseudonyms stand for.
    """
    try:
        described = pq.read_table(
            proof.catalogue, columns=["study", "series", "patient", "accession", "taken"]
        )
        kept = pq.read_table(
            proof.where, columns=["study", "series", "study_instance_uid", "source", "paths"]
        )
    except (OSError, ValueError) as error:
        raise BadConfiguration(
            f"{proof.root} has no catalogue that can be read ({error}); "
            "ichnode archive find makes one"
        ) from error
    found: dict[str, Order] = {}
    for row, real in zip(_rows(described), _rows(kept), strict=True):
        if row["study"] in done:
            continue
        order = found.setdefault(
            row["study"],
            Order(
                *(row["study"], row["patient"], row["accession"]),
                *(real["study_instance_uid"], real["source"]),
            ),
        )
        if order.source == real["source"]:
            order.paths = tuple(dict.fromkeys((*order.paths, *real["paths"])))
            order.taken = order.taken or row["taken"]
    return sorted((order for order in found.values() if order.taken), key=lambda one: one.study)


def _rows(table: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.sort_by("series").to_pylist()
    return found
