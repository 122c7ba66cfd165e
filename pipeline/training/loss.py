"""MONAI's DiceFocalLoss for the project's heads. Adds the choice of its many switches, each with the reason."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..network.decide import Head


def dice_focal_loss(head: Head) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of one batch.

    Returns: a function of logits (B, K, H, W) and labels (B, 1, H, W) of class indices, or (B, K, H, W) of 0 and 1 for
        overlapping structures; 0 or more by definition (the Dice part is 1 - Dice).
    Source: Lin et al., arXiv:1708.02002 (focal); Milletari et al., arXiv:1606.04797 (Dice).
    """
    from monai.losses import DiceFocalLoss

    loss = DiceFocalLoss(
        softmax=head == "softmax",
        sigmoid=head == "sigmoid",
        to_onehot_y=head == "softmax",
        # A slice without a structure has no gradient of its own Dice (measured 1e-13): sum over the batch instead.
        batch=True,
        # MONAI's focal part is a sigmoid of each channel under softmax too; without the background channel, nothing but the
        # Dice part would teach the background's logit.
        include_background=True,
    )

    def of_batch(scores: Tensor, truth: Tensor) -> Tensor:
        # MONAI casts to float32 in the focal part only; bfloat16 logits shift the Dice part in the third decimal.
        value: Tensor = loss(scores.float(), truth if head == "softmax" else truth.float())
        return value

    return of_batch
