"""What networks say of sites that they never saw, without a network."""

import numpy as np

from training.unseen.left_out import LeftOut


def reading(
    site: str = "a",
    series: int = 40,
    slices: int = 8,
    seed: int = 0,
    ensemble: float = 1.0,
    lite: float = 2.0,
    bleeding: float = 0.5,
) -> LeftOut:
    """Return a site whose every bleeding series shows a subdural on two neighbouring slices.

    Parameters
    ----------
    ensemble, lite
        By how much either kind of network raises the logit of a slice that bleeds; noise is 1.
    bleeding
        Share of the series that bleed.
    """
    random = np.random.default_rng(seed)
    count = series * slices
    case = np.repeat(np.arange(series), slices)
    study = (case < bleeding * series).astype(np.float32)
    shown = (study == 1) & np.isin(np.arange(count) % slices, (3, 4))
    labels = np.zeros((count, 6), np.float32)
    labels[shown] = [1, 0, 0, 0, 0, 1]
    names = np.array([f"series {each}" for each in case])
    return LeftOut(
        site=site,
        seen=False,
        case=names,
        patient=names,
        labels=labels,
        study=study,
        drawn_ml=np.where(study == 1, 1 + case, np.nan).astype(np.float32),
        fair=np.ones(count, bool),
        test=np.zeros(count, bool),
        ensemble=random.normal(size=count) + ensemble * shown,
        slices=random.normal(size=count) + lite * shown,
        sequence=random.normal(size=count) + ensemble * shown,
    )
