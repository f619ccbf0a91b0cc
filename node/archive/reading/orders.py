"""Which studies of a catalogue are to be read."""

from collections.abc import Container
from dataclasses import dataclass, field

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
        If there is no catalogue, or what its pseudonyms stand for is not known.
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
    named = {real["series"]: real for real in kept.to_pylist()}
    for row in described.to_pylist():
        if row["study"] in done:
            continue
        real = named.get(row["series"])
        if real is None:
            raise BadConfiguration(
                f"{proof.where} does not know each series of {proof.catalogue.name}: one of them "
                "is older; ichnode archive find, called as before, writes both anew"
            )
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
