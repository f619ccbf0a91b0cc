"""What the networks minimise."""

import torch
from monai.losses import DiceCELoss, DiceLoss
from torch import Tensor, nn

from models.ensemble import peak
from models.findings import SUBTYPES

BOX_PIXELS = 40
"""Pixels that bleed at least in a box round blood and oedema; an estimate."""

CLASSES = ("normal", *SUBTYPES)
"""Zhou 2022's exclusive classes, in the order of the classifier's outputs."""

_dice_and_entropy = DiceCELoss(sigmoid=True, batch=True)
_dice = DiceLoss(batch=True)


def segmentation(logits: Tensor, mask: Tensor) -> Tensor:
    """Soft Dice over the batch plus binary cross-entropy.

    Kang 2023 uses soft Dice alone; the cross-entropy is ours, because Dice alone gives no gradient
    on the many slices without a lesion.

    Parameters
    ----------
    logits, mask
        (n, 1, h, w) or (n, 1, d, h, w) float.
    """
    loss: Tensor = _dice_and_entropy(logits.float(), mask)
    return loss


def presence(logits: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of each slice's brightest pixels against whether it bleeds (ours).

    A slice scores by its largest probabilities, to which the losses over all pixels are nearly
    blind: a calcification of ten pixels costs them nothing.

    Parameters
    ----------
    logits, mask
        (n, 1, h, w) float.
    """
    brightest = peak(logits.float())[:, 0]
    loss: Tensor = nn.functional.binary_cross_entropy_with_logits(
        brightest, mask.flatten(1).amax(1)
    )
    return loss


def named(logits: Tensor, labels: Tensor) -> Tensor:
    """Multi-label binary cross-entropy.

    Parameters
    ----------
    logits, labels
        (...) alike; a label is 0, 1 or NaN where unknown (not counted).
    """
    known = ~labels.isnan()
    each = nn.functional.binary_cross_entropy_with_logits(
        logits.float(), torch.where(known, labels, 0.0), reduction="none"
    )
    return (each * known).sum() / known.sum().clamp(min=1)


def located(logits: Tensor, mask: Tensor, drawn: Tensor, boxed: Tensor) -> Tensor:
    """Return the loss of a map where something is known of the lesion's place (ours).

    A drawn mask is compared pixel by pixel (`segmentation`). Outside of a box nothing bleeds;
    inside of it the brightest `BOX_PIXELS` do. A bleeding slice without mask and box costs nothing:
    an empty mask does not say "nothing here".

    Parameters
    ----------
    logits, mask
        (n, 1, h, w) float; the mask is 1 in the lesion, or inside of boxes.
    drawn, boxed
        (n,) bool, what is known of each slice; neither where nothing is.
    """
    loss = torch.zeros((), device=logits.device)
    if drawn.any():
        loss = loss + segmentation(logits[drawn], mask[drawn])
    if boxed.any():
        found, inside = logits[boxed].float(), mask[boxed]
        loss = loss + (nn.functional.softplus(found) * (1 - inside)).mean()
        brightest = found.masked_fill(inside == 0, -torch.inf).flatten(1).topk(BOX_PIXELS).values
        loss = loss + nn.functional.softplus(-brightest[brightest.isfinite()]).mean()
    return loss


def shown(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of the map's brightest pixels against whether the slice bleeds.

    Parameters
    ----------
    logits
        (n, 1, h, w).
    labels
        (n, 6) of `models.classifiers.LABELS`; where "any" is unknown the slice costs nothing.
    """
    return named(peak(logits.float())[:, 0], labels[:, 0])


def known_any(labels: Tensor) -> Tensor:
    """(n, k) labels -> (n,): 1 where one of them is 1, 0 where all are 0, else NaN (unknown)."""
    return torch.where((labels == 1).any(1), 1.0, labels.sum(1))  # a sum with NaN is NaN


def with_any(labels: Tensor) -> Tensor:
    """(n, 5) labels of `SUBTYPES` -> (n, 6) of `models.classifiers.LABELS`."""
    return torch.cat((known_any(labels)[:, None], labels), 1)


def exclusive(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of `CLASSES` (Zhou 2022).

    Parameters
    ----------
    logits
        (n, 6).
    labels
        (n, 5) of `SUBTYPES`, at most one of them 1.
    """
    target = torch.where(labels.any(1), 1 + labels.argmax(1), 0)
    return nn.functional.cross_entropy(logits.float(), target)


def location(activation: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
    """Dice and binary cross-entropy between a saliency map and the lesion (Kang 2023).

    The paper adds "a segmentation loss" between the two; this one is ours, Dice on the slices that
    show a lesion only. A slice with hemorrhage but without a mask costs nothing.

    Parameters
    ----------
    activation
        (n, 1, h', w') class activation map of "any", in logits; brought to the mask's size.
    mask
        (n, 1, h, w) float, 0 or 1.
    labels
        (n, 5) of `SUBTYPES`.
    """
    logits = nn.functional.interpolate(activation.float(), mask.shape[2:], mode="bilinear")
    drawn = mask.flatten(1).amax(1) > 0
    known = drawn | (labels == 0).all(1)
    loss = torch.zeros((), device=logits.device)
    if known.any():
        loss = nn.functional.binary_cross_entropy_with_logits(logits[known], mask[known])
    if drawn.any():
        loss = loss + _dice(torch.sigmoid(logits[drawn]), mask[drawn])
    return loss


def fused_dice(probability: Tensor, mask: Tensor) -> Tensor:
    """Soft Dice of the fused map over the batch (Kang 2023's loss of the weight model).

    Parameters
    ----------
    probability, mask
        (n, 1, h, w) float, 0..1.
    """
    loss: Tensor = _dice(probability, mask)
    return loss
