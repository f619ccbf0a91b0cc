"""Implants are drawn beside the real blood that they stand for."""

from dataclasses import replace

import numpy as np

from tests.support.slices import EPIDURAL, NORMAL, SUBDURAL, table
from training.blood import Blood, blood_figure, blood_of
from training.datasets.table import Table


def drawn(*known: tuple[str, list[list[float]], float]) -> Table:
    """Return a table of (site, labels of each slice, volume of the mask)."""
    made = table(*((site, slices) for site, slices, _ in known))
    cases = tuple(
        replace(case, drawn_ml=ml, study=tuple(np.max(slices, 0).tolist()))
        for case, (_, slices, ml) in zip(made.cases, known, strict=True)
    )
    return replace(made, cases=cases)


def test_blood_of_one_subtype_alone_is_measured_apart_for_patients_and_implants() -> None:
    made = drawn(
        ("a", [SUBDURAL, SUBDURAL], 4.0),
        ("a", [SUBDURAL, EPIDURAL], 9.0),  # two subtypes: whose density would it be?
        ("a", [NORMAL], 0.0),
        ("a implanted", [EPIDURAL], 2.0),
    )
    real, implanted = (blood_of(made, implanted=each) for each in (False, True))
    assert real["subdural"] == [Blood(30.0, 4.0)] and not real["epidural"]
    assert implanted["epidural"] == [Blood(30.0, 2.0)] and not implanted["subdural"]
    assert blood_figure(real, implanted).startswith(b"\x89PNG")
