"""What the networks minimise."""

import torch
from monai.losses import DiceCELoss, DiceLoss
from torch import Tensor, nn

from models.ensemble import peak

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


def subtypes(logits: Tensor, labels: Tensor) -> Tensor:
    """Multi-label binary cross-entropy.

    Parameters
    ----------
    logits, labels
        (n, 5); a label is 0, 1 or NaN where unknown (not counted).
    """
    known = ~labels.isnan()
    each = nn.functional.binary_cross_entropy_with_logits(
        logits.float(), torch.where(known, labels, 0.0), reduction="none"
    )
    return (each * known).sum() / known.sum().clamp(min=1)


def fused_dice(probability: Tensor, mask: Tensor) -> Tensor:
    """Soft Dice of the fused map over the batch (Kang 2023's loss of the weight model).

    Parameters
    ----------
    probability, mask
        (n, 1, h, w) float, 0..1.
    """
    loss: Tensor = _dice(probability, mask)
    return loss
